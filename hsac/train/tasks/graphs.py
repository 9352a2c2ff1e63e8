"""Classification of a graph's nodes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hsac import imports
from hsac.models.graphs import SparseFeatures
from hsac.study.part import Part
from hsac.train.ensemble import Ensemble
from hsac.train.seeds import generator
from hsac.train.tasks.metrics import answers, chance, cross_entropy, scores
from hsac.train.tasks.types import (
    CROSS_ENTROPY,
    Arrays,
    Metrics,
    Outputs,
    WithoutMetaSet,
    training_loss,
)

if TYPE_CHECKING:  # what a file holds is no part of what is computed from it
    from hsac.data.stored_variant import StoredVariant

# The share of features that are not 0 up to which a graph's features are kept without their zeros.
SPARSE = 0.2


class NodeTask(WithoutMetaSet):
    """Node classification on one graph, full batch.

    Attributes:
        graph: Features (N, F), source and target of the edges (2E,) each, and their weights.
        y: Labels (N,).
        rows: Nodes of each part.
        rate: Share of features that dropout drops.
        size: Training nodes of a batch, which are all.
    """

    steps_per_epoch = batches = 1
    asked = 1
    selected_by = "validation_accuracy"

    def __init__(
        self,
        arrays: Arrays,
        variant: "StoredVariant",
        seeds: Sequence[int],
        like: Tensor,
        trained: Part = CROSS_ENTROPY,
    ) -> None:
        """Lay out the graph for training.

        Args:
            arrays: The graph: features `x` (N, F), `edge` (2, E) one way, labels `y` (N,).
            variant: Nodes of each part, and which feature columns the model sees.
            seeds: The seeds of the R runs.
            like: A tensor of the model's dtype and device.
            trained: Name and parameters of the training loss.
        """
        # Imported here, as it takes seconds and only graphs need it.
        with imports.quiet():
            from torch_geometric.nn.conv.gcn_conv import gcn_norm
            from torch_geometric.utils import to_undirected

        x, edge, y = (torch.from_numpy(arrays[key]) for key in ("x", "edge", "y"))
        # Edges are stored one way, while messages pass both ways.
        edge_index = to_undirected(edge, num_nodes=x.shape[0])
        edge_index, weight = gcn_norm(edge_index, num_nodes=x.shape[0], dtype=like.dtype)
        x = x.to(like)
        if "columns" in variant:
            # A feature may all but name the class, as the fourth one of Airport does.
            x = x[:, variant["columns"]]
        # A product with mostly zeros is many times faster without them.
        features = SparseFeatures.of(x) if (x != 0).double().mean() <= SPARSE else x
        self.graph = (features, *(e.to(like.device) for e in edge_index), weight.to(like))
        self.y = y.long().to(like.device)
        self.rows = {
            part: torch.as_tensor(index).to(like.device)
            for part, index in variant["indices"].items()
        }
        self.inputs, self.classes = x.shape[1], int(y.max()) + 1
        labels = self.y[self.rows["train"]]
        self.examples, self.chance = len(labels), chance(labels)
        self.size = len(labels)
        self.seeds, self.rate = seeds, 0.0
        self.masked: tuple[tuple[int, ...], ...] = ()
        self.streams: dict[str, list[torch.Generator]] = {}
        self.trained = training_loss(trained, labels, self.classes, like)

    def drop(self, rate: float, hidden: int) -> None:
        """Make batches bring dropout masks from now on.

        Args:
            rate: The share that is dropped: of the features that are not 0, and of hidden ones.
            hidden: Number of hidden features of a node.
        """
        self.rate = rate
        # A zero stays one whatever is dropped, so only the other entries need a mask.
        x = self.graph[0]
        entries = len(x.values) if isinstance(x, SparseFeatures) else int(x.count_nonzero())
        # One shape a layer: what enters it, then the hidden features.
        self.masked = ((entries,), (len(self.y), hidden))

    def batch(self, stream: str, times: int = 1) -> dict[str, Tensor] | None:
        """Make a batch, which is all training nodes.

        Args:
            stream: The stream that dropout draws from.
            times: Of no effect.

        Returns:
            With dropout masks `layer<i>` (R, ...) of what is kept, else None.
        """
        if not self.rate:
            return None
        # A stream begins when it is first asked for: most methods ask for few of them.
        streams = self.streams.setdefault(
            stream, [generator(seed, f"dropout {stream}") for seed in self.seeds]
        )
        masks = {}
        for i, shape in enumerate(self.masked):
            # Drawn on the CPU, so that every device drops the same.
            kept = [torch.rand(shape, generator=g) >= self.rate for g in streams]
            masks[f"layer{i}"] = torch.stack(kept).to(self.y.device)
        return masks

    def probe(self) -> None:
        """Make the batch for sharpness: the training nodes, nothing dropped."""

    def outputs(
        self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: dict[str, Tensor] | None
    ) -> Outputs:
        """Compute logits (R, n, K) of the training nodes.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            batch: Dropout masks, or None.

        Returns:
            Logits, beside labels and rows.
        """
        # Nodes take messages from nodes of other parts, so the whole graph is passed through.
        logits = self._logits(ensemble, w, c, batch)[:, self.rows["train"]]
        labels = self.y[self.rows["train"]]
        # A loss with a memory counts training rows from 0, not nodes.
        rows = torch.arange(len(labels)).to(labels)
        return Outputs(logits, labels.expand(len(w), -1), rows.expand(len(w), -1))

    def embedded(
        self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: dict[str, Tensor] | None
    ) -> Outputs:
        """Compute tangent features (R, n, d) of the training nodes, nothing dropped.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            batch: Of no effect.

        Returns:
            Features in the place of the logits, beside labels and rows.
        """
        labels = self.y[self.rows["train"]].expand(len(w), -1)
        rows = torch.arange(labels.shape[1]).to(labels).expand(len(w), -1)
        return Outputs(self.features(ensemble, w, c), labels, rows)

    def held_out(self, stream: str = "held_out") -> None:
        """Make a held-out batch, which is all validation nodes, nothing dropped.

        Args:
            stream: Of no effect.
        """

    def held_out_loss(self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: None) -> Tensor:
        """Compute the mean cross-entropy (R,) over the validation nodes.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            batch: What `held_out` gave.

        Returns:
            Nats (R,).
        """
        return cross_entropy(*self.held_out_logits(ensemble, w, c))

    def held_out_logits(
        self, ensemble: Ensemble, w: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute logits of the validation nodes.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Logits (R, N, K) to predict with, labels and weights (N,).
        """
        logits = self._logits(ensemble, w, c)[:, self.rows["validation"]]
        labels = self.y[self.rows["validation"]]
        return self.trained.adjust(logits), labels, logits.new_ones(len(labels))

    def features(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Tensor:
        """Compute tangent features (R, N, d) of the training nodes.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            The features.
        """
        return ensemble.call("embed", w, c, self.graph, shared=True)[:, self.rows["train"]]

    def evaluate(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Metrics:
        """Compute the metrics of every part.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Accuracy and NLL of every part, balanced accuracy and calibration error of validation
            and test, and `test_right`.
        """
        logits = self.trained.adjust(self._logits(ensemble, w, c))
        out: Metrics = {}
        for part, rows in self.rows.items():
            right, nll, confidence = answers(logits[:, rows], self.y[rows])
            out |= scores(part, right, nll, confidence, self.y[rows])
            if part == "test":
                out["test_right"] = right.int()
        return out

    def risk(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Tensor:
        """Compute the error (R,) on the training nodes.

        These are `examples` draws without replacement from the graph's nodes.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Errors in [0, 1].
        """
        return self._error(ensemble, w, c, "train")

    def held_out_risk(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Tensor:
        """Compute the error (R,) on the validation nodes.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Errors in [0, 1].
        """
        return self._error(ensemble, w, c, "validation")

    def embedding(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Compute tangent features of the test nodes.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Features (R, N, d) and labels (N,).
        """
        features = ensemble.call("embed", w, c, self.graph, shared=True)
        return features[:, self.rows["test"]], self.y[self.rows["test"]]

    def _logits(
        self, ensemble: Ensemble, w: Tensor, c: Tensor, masks: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Compute the logits (R, N, K) of all nodes."""
        return ensemble.call("forward", w, c, self.graph, shared=True, state=masks)

    def _error(self, ensemble: Ensemble, w: Tensor, c: Tensor, part: str) -> Tensor:
        rows = self.rows[part]
        logits = self.trained.adjust(self._logits(ensemble, w, c)[:, rows])
        return (logits.argmax(-1) != self.y[rows]).double().mean(-1)
