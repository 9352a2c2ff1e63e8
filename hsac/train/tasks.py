"""What a setting asks of training: batches, a loss, and metrics. One class a kind of data."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from hsac import parts
from hsac.data import load_graph, load_images
from hsac.errors import InputError
from hsac.losses.cross_entropy import CrossEntropy
from hsac.losses.types import Labels, TrainingLoss, log_probability
from hsac.models.graphs import SparseFeatures
from hsac.train.augment import CropFlip
from hsac.train.ensemble import Bundle, State
from hsac.train.seeds import generator

Metrics = dict[str, Tensor]
CHUNK = 512  # rows a forward pass of an evaluation takes at once; larger ones fall out of the cache
SPARSE = (
    0.2  # the share of features that are not 0 up to which a graph's are kept without their zeros
)
DISTANCES = 2**22  # numbers between queries and prototypes that an evaluation holds at once
CROSS_ENTROPY = {"rule": "cross_entropy", "parameters": {}}
HELD_OUT = ("held_out", "held_out adversary")  # streams of validation batches
SAMPLES = ("upper", "lower", "adversary")  # of the bi-level problem: each draws batches of its own
BINS = 15  # of the calibration error
MANY, FEW = (
    100,
    20,
)  # a class has many training rows above the one, few below the other (Liu et al., CVPR 2019)


class Outputs(NamedTuple):
    """A network's logits (R, N, K) on a batch, the labels given there (R, N), and the rows of the
    training part that these are (R, N), None where there is no such part.
    """

    logits: Tensor
    labels: Tensor
    rows: Tensor | None


class Task(Protocol):
    """`steps_per_epoch` batches make an epoch, trained on by the loss `trained`, of `examples`
    independent training examples. `batches` make up the whole training part, the last perhaps
    smaller. `batch` draws one, or one of `times` its size, at most the whole part. Batches are per
    run; metrics are (R,), but for test_right: (R, N), how many of the `asked` answers of each of
    the N test items (or episodes) are right. `selected_by` is the metric of validation that
    selection looks at.

    `held_out` draws a batch of the validation part, `held_out_loss` is the cross-entropy there of
    what the network predicts with, `held_out_logits` are those of the whole part: logits (R, N, K),
    labels (N,), and weights (N,) of mean 1. Under a long tail both weigh the classes alike.
    `features` are tangent features (R, N, d) of a training batch of a stream of its own.
    """

    steps_per_epoch: int
    batches: int
    examples: int
    asked: int
    trained: TrainingLoss
    selected_by: str

    def batch(self, stream: str, times: int = 1) -> Any: ...
    def probe(self) -> Any: ...
    def outputs(self, bundle: Bundle, w: Tensor, c: Tensor, batch: Any) -> Outputs: ...
    def held_out(self, stream: str = "held_out") -> Any: ...
    def held_out_loss(self, bundle: Bundle, w: Tensor, c: Tensor, batch: Any) -> Tensor: ...
    def held_out_logits(
        self, bundle: Bundle, w: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]: ...
    def features(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor: ...
    def evaluate(self, bundle: Bundle, w: Tensor, c: Tensor) -> Metrics: ...


def plain_loss(task: Task, bundle: Bundle, w: Tensor, c: Tensor, batch: Any) -> Tensor:
    """Mean cross-entropy (R,) of a batch, whatever loss is trained: what is measured of every
    method alike.
    """
    logits, labels, _ = task.outputs(bundle, w, c, batch)
    return CrossEntropy()(logits, labels, {}, 0.0)


def training_loss(
    given: dict[str, Any], labels: Tensor | None, classes: int, like: Tensor
) -> TrainingLoss:
    """The loss {rule, parameters} for the training labels (n,). Raises InputError for one that
    needs these where there are None.
    """
    filled: dict[str, Any] = {}
    if "training" in parts.filled("loss", given["rule"]):
        if labels is None:
            raise InputError(
                f"loss: found {given['rule']!r}, which needs labelled training rows; episodes have"
                " none"
            )
        filled["training"] = Labels(torch.bincount(labels, minlength=classes).to(like))
    return parts.build("loss", given["rule"], given["parameters"], "loss", **filled)


def answers(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """logits (R, ..., N, K), labels (N,) -> which are right (R, ..., N), bool, negative
    log-likelihoods in nats, and confidences, the largest probability.
    """
    logs = logits.log_softmax(-1)
    nll = -logs.gather(-1, labels.expand(logits.shape[:-1])[..., None]).squeeze(-1)
    return logits.argmax(-1) == labels, nll, logs.amax(-1).exp()


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """logits (R, N, K), labels and weights (N,) or (R, N) -> weighted mean (R,)."""
    return -(weights * log_probability(logits, labels.expand(logits.shape[:-1]))).mean(-1)


def mean(values: Tensor) -> Tensor:
    """(R, N) -> (R,), in float64."""
    return values.double().mean(-1)


def balanced_accuracy(right: Tensor, labels: Tensor) -> Tensor:
    """Mean (R,) over the classes of the labels (N,) of each one's share of right (R, N) answers."""
    own = one_hot(labels).double()
    own = own[:, own.any(0)]
    return (right.double() @ own / own.sum(0)).mean(-1)


def calibration_error(right: Tensor, confidence: Tensor) -> Tensor:
    """Expected calibration error (R,) in [0, 1] of answers (R, N): the gap between accuracy and
    mean confidence in each of 15 bins ((m - 1)/15, m/15], averaged over the answers (Guo et al.,
    ICML 2017, eq. 3).
    """
    confidence = confidence.double()
    place = ((confidence * BINS).ceil() - 1).clamp(0, BINS - 1)
    inside = (place[..., None] == torch.arange(BINS).to(place)).double()
    gap = right.double() - confidence
    return (gap[..., None] * inside).sum(-2).abs().sum(-1) / gap.shape[-1]


def _check_data(dataset: str, variant: dict[str, Any], found: str) -> None:
    if variant["data_sha256"] != found:
        name, cut_from = variant["name"], variant["data_sha256"]
        raise InputError(
            f"variant {name} of {dataset}: cut from data {cut_from[:16]}, found {found[:16]};"
            " delete the file"
        )


class Pixels:
    """An image set kept as bytes on the device of `like`: uint8 (N, H, W), or (N, H, W, 3) laid
    channels first.

    `shape` is (H, W) or (3, H, W). Floats of `like`'s dtype in [0, 1] are made of the rows asked
    for, no more.
    """

    def __init__(self, image: np.ndarray, like: Tensor) -> None:
        stored = torch.as_tensor(image)
        self.bytes = (stored.movedim(-1, 1).contiguous() if stored.dim() == 4 else stored).to(
            like.device
        )
        self.like, self.shape = like, tuple(self.bytes.shape[1:])

    def __call__(self, rows: Tensor) -> Tensor:
        """rows (...) -> floats (..., *shape)."""
        return self.floats(self.bytes[rows])

    def floats(self, pixels: Tensor) -> Tensor:
        """Bytes as floats in [0, 1]."""
        return pixels.to(self.like) / 255


class Shuffled:
    """Per-run streams of shuffled rows, epoch after epoch: `next(size)` -> (R, size) indices below
    n.
    """

    def __init__(self, n: int, seeds: Sequence[int], purpose: str) -> None:
        self.n, self.generators = n, [generator(seed, purpose) for seed in seeds]
        self.waiting = [torch.empty(0, dtype=torch.long) for _ in seeds]

    def next(self, size: int) -> Tensor:
        """The next `size` rows of every run; a batch never holds a row twice while size ≤ n."""
        for i, g in enumerate(self.generators):
            if len(self.waiting[i]) < size:
                self.waiting[i] = torch.randperm(self.n, generator=g)
        taken = torch.stack([rows[:size] for rows in self.waiting])
        self.waiting = [rows[size:] for rows in self.waiting]
        return taken


class ImageTask:
    """Classification of images; long-tailed and noisy variants are the same task on other indices
    and labels.

    `augment` None, or `crop_flip`: what is done to training batches, and to nothing else. A model
    with batch statistics is evaluated with those of rows whose labels play no part in it: see
    `evaluate` and `risk`.
    """

    EVALUATED_TRAIN = 1000
    PROBE = 256
    asked = 1

    def __init__(
        self,
        dataset: str,
        variant: dict[str, Any],
        root: Any,
        seeds: Sequence[int],
        batch: int,
        like: Tensor,
        augment: str | None = None,
        trained: dict[str, Any] = CROSS_ENTROPY,
    ) -> None:
        images = load_images(dataset, root)
        _check_data(dataset, variant, images.sha256)
        self.pixels = Pixels(images.image, like)
        labels = torch.as_tensor(images.label).long().to(like.device)
        self.rows = {
            part: torch.as_tensor(index).to(like.device)
            for part, index in variant["indices"].items()
        }
        given = {
            part: torch.as_tensor(y).to(like.device)
            for part, y in variant.get("labels", {}).items()
        }
        self.y = {part: given.get(part, labels[index]) for part, index in self.rows.items()}
        self.clean = labels[self.rows["train"]]
        n = len(self.clean)
        group = images.group[self.rows["train"].cpu()]
        self.single = torch.as_tensor(np.unique(group, return_index=True)[1]).to(like.device)
        self.examples = len(self.single)
        self.chance = _chance(self.y["train"][self.single])
        self.spread = _spread(n, self.EVALUATED_TRAIN).to(like.device)
        self.inputs, self.classes, self.runs = self.pixels.shape, len(images.classes), len(seeds)
        self.trained = training_loss(trained, self.y["train"], self.classes, like)
        tail = variant["recipe"]["recipe"] == "long_tail"
        self.groups = _groups(self.y["train"], self.classes) if tail else {}
        uneven = len(torch.bincount(self.y["validation"], minlength=self.classes).unique()) > 1
        self.selected_by = (
            "validation_balanced_accuracy" if tail and uneven else "validation_accuracy"
        )
        self.size = min(batch, n)
        self.steps_per_epoch, self.batches = max(1, n // self.size), -(-n // self.size)
        self.streams = {
            name: Shuffled(n, seeds, name) for name in ("batches", *SAMPLES, "features")
        }
        held_out = self.y["validation"]
        self.held_out_size = min(batch, len(held_out))
        self.streams |= {name: Shuffled(len(held_out), seeds, name) for name in HELD_OUT}
        self.balance = balanced_weights(held_out).to(like) if tail else like.new_ones(len(held_out))
        self.augment = {
            s: CropFlip(seeds, f"augment {s}")
            for s in ("batches", *SAMPLES)
            if augment == "crop_flip"
        }

    def held_out(self, stream: str = "held_out") -> tuple[Tensor, Tensor, Tensor]:
        """Validation images (R, B, H, W), their labels (R, B) as given, and weights (R, B)."""
        index = self.streams[stream].next(self.held_out_size).to(self.clean.device)
        return (
            self.pixels(self.rows["validation"][index]),
            self.y["validation"][index],
            self.balance[index],
        )

    def held_out_loss(
        self, bundle: Bundle, w: Tensor, c: Tensor, batch: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Weighted mean cross-entropy (R,)."""
        return cross_entropy(
            self.trained.adjust(bundle.call("forward", w, c, batch[0])), batch[1], batch[2]
        )

    def held_out_logits(
        self, bundle: Bundle, w: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (R, N, K) of all validation images, labels as given and weights (N,)."""
        state = self.statistics(bundle, w, c, "train")
        chunks = self._chunks("forward", bundle, w, c, self.rows["validation"], state)
        return self.trained.adjust(torch.cat([*chunks], 1)), self.y["validation"], self.balance

    def features(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor:
        """Tangent features (R, B, d) of a training batch, not augmented."""
        index = self.streams["features"].next(self.size).to(self.clean.device)
        return bundle.call("embed", w, c, self.pixels(self.rows["train"][index]))

    def batch(self, stream: str, times: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Images (R, B, H, W), (R, B, 3, H, W) in colour, given labels (R, B), and which training
        rows these are.
        """
        index = (
            self.streams[stream].next(min(times * self.size, len(self.clean))).to(self.clean.device)
        )
        pixels = self.pixels.bytes[self.rows["train"][index]]
        if self.augment:
            pixels = self.augment[stream](pixels)
        return self.pixels.floats(pixels), self.y["train"][index], index

    def probe(self) -> tuple[Tensor, Tensor, Tensor]:
        """One fixed batch of training rows, spread over the set, the same for every run."""
        index = self.spread[:: -(-len(self.spread) // self.PROBE)]
        x, y = self.pixels(self.rows["train"][index]), self.y["train"][index]
        return x.expand(self.runs, *x.shape), y.expand(self.runs, -1), index.expand(self.runs, -1)

    def outputs(
        self, bundle: Bundle, w: Tensor, c: Tensor, batch: tuple[Tensor, Tensor, Tensor]
    ) -> Outputs:
        """Logits (R, B, K) of a batch, beside its labels and rows."""
        x, labels, rows = batch
        return Outputs(bundle.call("forward", w, c, x), labels, rows)

    def evaluate(self, bundle: Bundle, w: Tensor, c: Tensor) -> Metrics:
        """Accuracy and NLL of every part (1000 rows of train, spread), balanced accuracy and
        calibration error of validation and test; test accuracy of the thirds of the classes and of
        those with many, medium and few training rows under a long tail; memorisation, the share of
        corrupted training labels that are predicted, under noise.

        Batch statistics, where the model has them, are those of the same 1000 training rows.
        """
        out: Metrics = {}
        right: dict[str, Tensor] = {}
        state = self.statistics(bundle, w, c, "train")
        for part in self.rows:
            rows, labels = self.rows[part], self.y[part]
            rows, labels = (
                (rows[self.spread], labels[self.spread]) if part == "train" else (rows, labels)
            )
            logits = self._chunks("forward", bundle, w, c, rows, state)
            found = [
                answers(self.trained.adjust(z), y)
                for z, y in zip(logits, labels.split(CHUNK), strict=True)
            ]
            right[part], nll, confidence = (
                torch.cat(values, 1) for values in zip(*found, strict=True)
            )
            out |= _scores(part, right[part], nll, confidence, labels)
        out["test_right"] = right["test"].int()
        for name, classes in self.groups.items():
            out[f"{name}_accuracy"] = mean(right["test"][:, torch.isin(self.y["test"], classes)])
        flipped = self.clean[self.spread] != self.y["train"][self.spread]
        if flipped.any():
            out["memorisation"] = mean(right["train"][:, flipped])
        return out

    def risk(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor:
        """Training error (R,) on `examples` rows, one of each group of near copies: these are
        independent.

        Batch statistics are those of validation rows: taken of the training rows they would make
        the network a choice that depends on the very examples it is certified on, and no bound for
        weights alone would cover it.
        """
        rows, labels = (values["train"][self.single] for values in (self.rows, self.y))
        return self._wrong(bundle, w, c, rows, labels).mean(-1)

    def held_out_risk(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor:
        """Error (R,) on validation of the network that `risk` is of, under the distribution that
        `risk` is of: labels as noisy, classes reweighted.
        """
        given = (self.y["train"][self.single], self.y["validation"])
        classes = [torch.bincount(labels, minlength=self.classes) for labels in given]
        share = (classes[0] / classes[1].clamp(min=1))[self.y["validation"]]
        wrong = self._wrong(bundle, w, c, self.rows["validation"], self.y["validation"])
        return (wrong * share / share.sum()).sum(-1)

    def embedding(self, bundle: Bundle, w: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent features (R, N, d) of the test images, and their labels (N,)."""
        state = self.statistics(bundle, w, c, "train")
        return (
            torch.cat([*self._chunks("embed", bundle, w, c, self.rows["test"], state)], 1),
            self.y["test"],
        )

    def statistics(self, bundle: Bundle, w: Tensor, c: Tensor, part: str) -> State | None:
        """What the bundle's model takes beside its weights at evaluation, of 1000 rows spread over
        a part; None for a model that takes nothing. Each batch is spread over the whole part, whose
        rows may stand class by class.
        """
        rows = self.rows[part][
            _spread(len(self.rows[part]), self.EVALUATED_TRAIN).to(self.clean.device)
        ]
        count = -(-len(rows) // CHUNK)
        return bundle.statistics(w, c, (self.pixels(rows[i::count]) for i in range(count)))

    def _chunks(
        self, method: str, bundle: Bundle, w: Tensor, c: Tensor, rows: Tensor, state: State | None
    ) -> Iterator[Tensor]:
        """What the model makes of images, CHUNK of them at a time."""
        return (
            bundle.call(method, w, c, self.pixels(some), shared=True, state=state)
            for some in rows.split(CHUNK)
        )

    def _wrong(self, bundle: Bundle, w: Tensor, c: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        """Errors (R, N) as 0 and 1."""
        state = self.statistics(bundle, w, c, "validation")
        chunks = self._chunks("forward", bundle, w, c, rows, state)
        predicted = [self.trained.adjust(logits).argmax(-1) for logits in chunks]
        return (torch.cat(predicted, 1) != labels).double()


def _spread(n: int, most: int) -> Tensor:
    """At most so many of n rows, evenly spread."""
    return torch.linspace(0, n - 1, min(n, most)).long()


def balanced_weights(labels: Tensor) -> Tensor:
    """Weights (N,) of mean 1 that give each class among the labels (N,) the same sum; all exactly 1
    where balanced.
    """
    counts = torch.bincount(labels)
    return len(labels) / (counts.count_nonzero() * counts[labels]).double()


def _chance(labels: Tensor) -> float:
    """Error of always predicting the most frequent label."""
    return 1 - float(torch.bincount(labels).max()) / len(labels)


def _scores(part: str, right: Tensor, nll: Tensor, confidence: Tensor, labels: Tensor) -> Metrics:
    """Metrics (R,) of a part from its answers (R, N) and labels (N,)."""
    found = {f"{part}_accuracy": mean(right), f"{part}_nll": mean(nll)}
    if part == "train":
        return found
    balanced, ece = balanced_accuracy(right, labels), calibration_error(right, confidence)
    return found | {f"{part}_balanced_accuracy": balanced, f"{part}_ece": ece}


def _groups(labels: Tensor, classes: int) -> dict[str, Tensor]:
    """Classes by their training rows: thirds, and those with many, medium and few; an empty group
    is absent.
    """
    counts = torch.bincount(labels, minlength=classes)
    order = counts.argsort(descending=True, stable=True)
    groups = dict(zip(("head", "middle", "tail"), order.tensor_split(3), strict=True))
    many, few = counts > MANY, counts < FEW
    groups |= {
        "many": many.nonzero()[:, 0],
        "medium": (~many & ~few).nonzero()[:, 0],
        "few": few.nonzero()[:, 0],
    }
    return {name: members for name, members in groups.items() if len(members)}


class NodeTask:
    """Node classification on one graph, full batch."""

    steps_per_epoch = batches = 1
    asked = 1
    selected_by = "validation_accuracy"

    def __init__(
        self,
        dataset: str,
        variant: dict[str, Any],
        root: Any,
        seeds: Sequence[int],
        like: Tensor,
        trained: dict[str, Any] = CROSS_ENTROPY,
    ) -> None:
        from torch_geometric.nn.conv.gcn_conv import gcn_norm

        graph = load_graph(dataset, root)
        _check_data(dataset, variant, graph.sha256)
        edge_index, weight = gcn_norm(graph.edge_index, num_nodes=graph.num_nodes, dtype=like.dtype)
        x = graph.x.to(like)
        if "columns" in variant:
            x = x[:, variant["columns"]]
        features = SparseFeatures.of(x) if (x != 0).double().mean() <= SPARSE else x
        self.graph = (features, *(e.to(like.device) for e in edge_index), weight.to(like))
        self.y = graph.y.long().to(like.device)
        self.rows = {
            part: torch.as_tensor(index).to(like.device)
            for part, index in variant["indices"].items()
        }
        self.inputs, self.classes = x.shape[1], int(graph.y.max()) + 1
        self.examples, self.chance = len(self.rows["train"]), _chance(self.y[self.rows["train"]])
        self.seeds, self.rate = seeds, 0.0
        self.masked: tuple[tuple[int, ...], ...] = ()
        self.streams: dict[str, list[torch.Generator]] = {}
        self.trained = training_loss(trained, self.y[self.rows["train"]], self.classes, like)

    def drop(self, rate: float, hidden: int) -> None:
        """From now on batches bring dropout masks at `rate`: of the features that are not 0, of
        `hidden` features.
        """
        self.rate = rate
        x = self.graph[0]
        entries = len(x.values) if isinstance(x, SparseFeatures) else int(x.count_nonzero())
        self.masked = ((entries,), (len(self.y), hidden))

    def batch(self, stream: str, times: int = 1) -> dict[str, Tensor] | None:
        """Every batch is all training nodes; with dropout, also masks layer<i> (R, ...) of what is
        kept.
        """
        if not self.rate:
            return None
        streams = self.streams.setdefault(
            stream, [generator(seed, f"dropout {stream}") for seed in self.seeds]
        )
        return {
            f"layer{i}": (
                torch.stack([torch.rand(shape, generator=g) >= self.rate for g in streams]).to(
                    self.y.device
                )
            )
            for i, shape in enumerate(self.masked)
        }

    def probe(self) -> None:
        """The same nodes, nothing dropped."""

    def outputs(
        self, bundle: Bundle, w: Tensor, c: Tensor, batch: dict[str, Tensor] | None
    ) -> Outputs:
        """Logits (R, n, K) of the training nodes, beside their labels."""
        logits = bundle.call("forward", w, c, self.graph, shared=True, state=batch)[
            :, self.rows["train"]
        ]
        labels = self.y[self.rows["train"]]
        return Outputs(
            logits,
            labels.expand(len(w), -1),
            torch.arange(len(labels)).to(labels).expand(len(w), -1),
        )

    def held_out(self, stream: str = "held_out") -> None:
        """Every held-out batch is all validation nodes, nothing dropped."""

    def held_out_loss(self, bundle: Bundle, w: Tensor, c: Tensor, batch: None) -> Tensor:
        """Mean cross-entropy (R,) over the validation nodes."""
        return cross_entropy(*self.held_out_logits(bundle, w, c))

    def held_out_logits(
        self, bundle: Bundle, w: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (R, N, K) of the validation nodes, labels and weights (N,)."""
        logits = bundle.call("forward", w, c, self.graph, shared=True)[:, self.rows["validation"]]
        labels = self.y[self.rows["validation"]]
        return self.trained.adjust(logits), labels, logits.new_ones(len(labels))

    def features(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor:
        """Tangent features (R, N, d) of the training nodes."""
        return bundle.call("embed", w, c, self.graph, shared=True)[:, self.rows["train"]]

    def evaluate(self, bundle: Bundle, w: Tensor, c: Tensor) -> Metrics:
        """Accuracy and NLL of every part, balanced accuracy and calibration error of validation and
        test.
        """
        logits = self.trained.adjust(bundle.call("forward", w, c, self.graph, shared=True))
        out: Metrics = {}
        for part, rows in self.rows.items():
            right, nll, confidence = answers(logits[:, rows], self.y[rows])
            out |= _scores(part, right, nll, confidence, self.y[rows])
            if part == "test":
                out["test_right"] = right.int()
        return out

    def risk(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor:
        """Error (R,) on the training nodes, `examples` draws without replacement from the graph's."""
        return self._error(bundle, w, c, "train")

    def held_out_risk(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor:
        """Error (R,) on the validation nodes."""
        return self._error(bundle, w, c, "validation")

    def _error(self, bundle: Bundle, w: Tensor, c: Tensor, part: str) -> Tensor:
        logits = self.trained.adjust(
            bundle.call("forward", w, c, self.graph, shared=True)[:, self.rows[part]]
        )
        return (logits.argmax(-1) != self.y[self.rows[part]]).double().mean(-1)

    def embedding(self, bundle: Bundle, w: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent features (R, N, d) of the test nodes, and their labels (N,)."""
        features = bundle.call("embed", w, c, self.graph, shared=True)
        return features[:, self.rows["test"]], self.y[self.rows["test"]]


class EpisodeTask:
    """Few-shot classification on stored episodes."""

    EVALUATED_TRAIN = 50
    PROBE = 400
    selected_by = "validation_accuracy"

    def __init__(
        self,
        dataset: str,
        variant: dict[str, Any],
        root: Any,
        seeds: Sequence[int],
        batch: int,
        like: Tensor,
        trained: dict[str, Any] = CROSS_ENTROPY,
    ) -> None:
        images = load_images(dataset, root)
        _check_data(dataset, variant, images.sha256)
        self.pixels = Pixels(images.image, like)
        self.episodes = {
            p: torch.as_tensor(e).to(like.device) for p, e in variant["episodes"].items()
        }
        self.shot, self.way, self.query = (
            variant["shot"],
            self.episodes["train"].shape[1],
            variant["query"],
        )
        self.inputs, self.runs = self.pixels.shape, len(seeds)
        self.trained = training_loss(trained, None, self.way, like)
        self.answers = torch.arange(self.way, device=like.device).repeat_interleave(self.query)
        self.asked = len(self.answers)
        self.examples = n = len(self.episodes["train"])
        self.size = min(batch, n)
        self.steps_per_epoch, self.batches = max(1, n // self.size), -(-n // self.size)
        self.streams = {
            name: Shuffled(n, seeds, name) for name in ("batches", *SAMPLES, "features")
        }
        held_out = len(self.episodes["validation"])
        self.held_out_size = min(batch, held_out)
        self.streams |= {name: Shuffled(held_out, seeds, name) for name in HELD_OUT}

    def held_out(self, stream: str = "held_out") -> Tensor:
        """Validation episodes of images (R, E, way, shot + query, H, W)."""
        index = self.streams[stream].next(self.held_out_size).to(self.answers.device)
        return self.pixels(self.episodes["validation"][index])

    def held_out_loss(self, bundle: Bundle, w: Tensor, c: Tensor, batch: Tensor) -> Tensor:
        """Mean cross-entropy of the queries (R,)."""
        logits, labels, _ = self.outputs(bundle, w, c, batch)
        return cross_entropy(self.trained.adjust(logits), labels, torch.ones_like(logits[..., 0]))

    def held_out_logits(
        self, bundle: Bundle, w: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (R, N, way) of the queries of all validation episodes, their classes and weights
        (N,).
        """
        logits = torch.cat([*self._logits(bundle, w, c, self.episodes["validation"])], 1).flatten(
            1, 2
        )
        return (
            logits,
            self.answers.repeat(len(self.episodes["validation"])),
            logits.new_ones(logits.shape[1]),
        )

    def features(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor:
        """Tangent features (R, N, d) of the images of training episodes."""
        return bundle.call("embed", w, c, self.batch("features").flatten(1, 3))

    def batch(self, stream: str, times: int = 1) -> Tensor:
        """Episodes of images (R, E, way, shot + query, H, W), in colour (..., 3, H, W)."""
        index = (
            self.streams[stream].next(min(times * self.size, self.examples)).to(self.answers.device)
        )
        return self.pixels(self.episodes["train"][index])

    def probe(self) -> Tensor:
        """The first training episodes, the same for every run: four, or as many as PROBE images
        give, at least one.
        """
        count = max(1, min(4, self.PROBE // self.episodes["train"][0].numel()))
        images = self.pixels(self.episodes["train"][:count])
        return images.expand(self.runs, *images.shape)

    def outputs(self, bundle: Bundle, w: Tensor, c: Tensor, batch: Tensor) -> Outputs:
        """Logits (R, E·Q, way) of the queries of a batch of episodes, beside their classes' places."""
        logits = bundle.call("forward", w, c, batch).flatten(1, 2)
        return Outputs(logits, self.answers.repeat(batch.shape[1]).expand(len(w), -1), None)

    def evaluate(self, bundle: Bundle, w: Tensor, c: Tensor) -> Metrics:
        """Accuracy and NLL over the episodes of every part (the first 50 of train), calibration
        error of validation and test, and the test episodes' spread. An episode asks for every class
        as often, so every accuracy is balanced.
        """
        out: Metrics = {}
        for part, episodes in self.episodes.items():
            episodes = episodes[: self.EVALUATED_TRAIN] if part == "train" else episodes
            found = [
                answers(logits, self.answers) for logits in self._logits(bundle, w, c, episodes)
            ]
            right, nll, confidence = (torch.cat(values, 1) for values in zip(*found, strict=True))
            out[f"{part}_accuracy"], out[f"{part}_nll"] = (
                mean(right.flatten(1)),
                mean(nll.flatten(1)),
            )
            if part != "train":
                out[f"{part}_ece"] = calibration_error(right.flatten(1), confidence.flatten(1))
            if part == "test":
                out["test_right"] = right.sum(-1)
                out["test_accuracy_episode_sd"] = (out["test_right"].double() / self.asked).std(-1)
        return out

    def _logits(self, bundle: Bundle, w: Tensor, c: Tensor, episodes: Tensor) -> Iterator[Tensor]:
        """Logits to predict with (R, some, way·query, way), as many episodes at a time as memory
        should hold.
        """
        if not hasattr(bundle.model, "classify"):  # its features are the episode's own
            size = max(1, CHUNK // episodes[0].numel())
            for some in episodes.split(size):
                yield self.trained.adjust(
                    bundle.call("forward", w, c, self.pixels(some), shared=True)
                )
            return
        rows, place = episodes.unique(
            return_inverse=True
        )  # an image stands in many episodes: embed it once
        chunks = [
            bundle.call("embed", w, c, self.pixels(some), shared=True) for some in rows.split(CHUNK)
        ]
        u = torch.cat(chunks, 1)
        size = max(1, DISTANCES // (len(w) * self.asked * self.way * u.shape[-1]))
        for some in place.split(size):
            yield self.trained.adjust(bundle.call("classify", w, c, u[:, some]))
