"""Classification of images, and what every task on images draws its batches with."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hsac.study.part import Part
from hsac.train.augment import CropFlip, Mixing
from hsac.train.ensemble import Ensemble, State
from hsac.train.seeds import generator
from hsac.train.tasks.metrics import (
    answers,
    balanced_weights,
    chance,
    cross_entropy,
    groups,
    mean,
    scores,
)
from hsac.train.tasks.types import (
    CROSS_ENTROPY,
    HELD_OUT,
    META,
    SAMPLES,
    Arrays,
    Metrics,
    Outputs,
    WithoutMetaSet,
    training_loss,
)

if TYPE_CHECKING:  # what a file holds is no part of what is computed from it
    from hsac.data.stored_variant import StoredVariant

EVALUATED = ("train", "validation", "test")
CHUNK = 512  # rows that a forward pass of an evaluation takes; larger ones fall out of the cache
Batch = tuple[Tensor, Tensor, Tensor]


class Pixels:
    """An image set kept as bytes on one device, of which floats are made as they are asked for.

    Attributes:
        bytes: uint8 (N, H, W), or (N, 3, H, W) in colour.
        like: A tensor of the floats' dtype and device.
        shape: (H, W) or (3, H, W).
    """

    def __init__(self, image: np.ndarray, like: Tensor) -> None:
        """Lay out images uint8 (N, H, W) or (N, H, W, 3), channels first."""
        stored = torch.as_tensor(image)
        if stored.dim() == 4:
            stored = stored.movedim(-1, 1).contiguous()
        self.bytes = stored.to(like.device)
        self.like, self.shape = like, tuple(self.bytes.shape[1:])

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the images of rows (...) as floats (..., *shape) in [0, 1]."""
        return self.floats(self.bytes[rows])

    def floats(self, pixels: Tensor) -> Tensor:
        """Convert bytes to floats.

        Args:
            pixels: Bytes of any shape.

        Returns:
            Floats of that shape in [0, 1].
        """
        return pixels.to(self.like) / 255


class Shuffled:
    """Streams of shuffled rows below n, one a run, epoch after epoch."""

    def __init__(self, n: int, seeds: Sequence[int], purpose: str) -> None:
        """Start a stream for each of the seeds."""
        self.n, self.generators = n, [generator(seed, purpose) for seed in seeds]
        self.waiting = [torch.empty(0, dtype=torch.long) for _ in seeds]

    def next(self, size: int) -> Tensor:
        """Draw the next rows of every run.

        A batch never holds a row twice while `size` ≤ n. The rest of an epoch that is too small for
        a batch is dropped.

        Args:
            size: Rows a run.

        Returns:
            Rows (R, size).
        """
        for i, g in enumerate(self.generators):
            # What is left is too few for a batch of distinct rows: a new epoch begins.
            if len(self.waiting[i]) < size:
                self.waiting[i] = torch.randperm(self.n, generator=g)
        taken = torch.stack([rows[:size] for rows in self.waiting])
        self.waiting = [rows[size:] for rows in self.waiting]
        return taken


class Balanced:
    """Streams of rows, one a run, in which every class is as likely.

    First a class is drawn, then one of its rows, each with replacement.
    """

    def __init__(self, labels: Tensor, seeds: Sequence[int], purpose: str) -> None:
        """Start a stream for each of the seeds, over rows with labels (n,)."""
        self.generators = [generator(seed, purpose) for seed in seeds]
        labels = labels.cpu()
        # Row by row in class order, so that a class is an interval.
        self.order = labels.argsort(stable=True)
        counts = labels.bincount()
        present = counts > 0
        self.starts, self.counts = (counts.cumsum(0) - counts)[present], counts[present]

    def next(self, size: int) -> Tensor:
        """Draw the next rows of every run.

        Args:
            size: Rows a run.

        Returns:
            Rows (R, size).
        """
        return torch.stack([self._draw(size, g) for g in self.generators])

    def _draw(self, size: int, stream: torch.Generator) -> Tensor:
        chosen = torch.randint(len(self.counts), (size,), generator=stream)
        within = torch.rand(size, generator=stream, dtype=torch.float64) * self.counts[chosen]
        return self.order[self.starts[chosen] + within.long()]


class ImageTask(WithoutMetaSet):
    """Classification of images.

    Long-tailed and noisy variants are the same task on other rows and labels. A model with batch
    statistics is evaluated with those of rows whose labels play no part in it: see `evaluate` and
    `risk`.

    Attributes:
        pixels: All images of the dataset.
        rows: Rows of each part.
        y: Labels of each part's rows, as the variant gives them.
        clean: The training rows' labels as the dataset has them.
        single: Places in the training part of one row of each group of near copies.
        groups: Classes by number of training rows, under a long tail only.
    """

    # Training rows of an evaluation, and rows of the batch that sharpness is measured on.
    EVALUATED_TRAIN = 1000
    PROBE = 256
    asked = 1

    def __init__(
        self,
        arrays: Arrays,
        variant: "StoredVariant",
        seeds: Sequence[int],
        batch: int,
        like: Tensor,
        augment: str | None = None,
        trained: Part = CROSS_ENTROPY,
    ) -> None:
        """Lay out the images for training.

        Args:
            arrays: The dataset: `image`, `label`, `group` (rows of one group are near copies), and
                `classes`, their names.
            variant: Rows of each part, and labels that replace the dataset's.
            seeds: The seeds of the R runs.
            batch: Rows of a training batch.
            like: A tensor of the model's dtype and device.
            augment: None, or `crop_flip`. It concerns training batches, and nothing else.
            trained: Name and parameters of the training loss.
        """
        self.pixels = Pixels(arrays["image"], like)
        self.inputs, self.classes = self.pixels.shape, len(arrays["classes"])
        self.runs = len(seeds)
        self._label(arrays, variant, like)
        tail = variant["recipe"]["recipe"] == "long_tail"
        self.groups = groups(self.y["train"], self.classes) if tail else {}
        held_out = self.y["validation"]
        uneven = len(torch.bincount(held_out, minlength=self.classes).unique()) > 1
        # An even validation part weighs the classes alike by itself.
        by_class = tail and uneven
        self.selected_by = "validation_balanced_accuracy" if by_class else "validation_accuracy"
        self.trained = training_loss(trained, self.y["train"], self.classes, like)
        self.balance = balanced_weights(held_out).to(like) if tail else like.new_ones(len(held_out))
        self._stream(seeds, batch, augment)

    def _label(self, arrays: Arrays, variant: "StoredVariant", like: Tensor) -> None:
        """Set rows and labels of the parts, and which training rows are independent."""
        labels = torch.as_tensor(arrays["label"]).long().to(like.device)
        self.rows, self.y = {}, {}
        given = variant.get("labels", {})
        for part, index in variant["indices"].items():
            self.rows[part] = torch.as_tensor(index).to(like.device)
            own = labels[self.rows[part]]
            self.y[part] = torch.as_tensor(given[part]).to(like.device) if part in given else own
        self.clean = labels[self.rows["train"]]
        group = arrays["group"][self.rows["train"].cpu()]
        # Near copies are no independent examples, so one of each group counts.
        self.single = torch.as_tensor(np.unique(group, return_index=True)[1]).to(like.device)
        self.examples = len(self.single)
        self.chance = chance(self.y["train"][self.single])
        self.spread = _spread(len(self.clean), self.EVALUATED_TRAIN).to(like.device)

    def _stream(self, seeds: Sequence[int], batch: int, augment: str | None) -> None:
        """Start the streams that batches are drawn from."""
        n, held_out = len(self.clean), len(self.y["validation"])
        self.size, self.held_out_size = min(batch, n), min(batch, held_out)
        # An epoch drops what is too little for a batch. To cover the whole part takes a batch more.
        self.steps_per_epoch, self.batches = max(1, n // self.size), -(-n // self.size)
        drawn: tuple[str, ...] = ("batches", *SAMPLES)
        self.streams: dict[str, Shuffled | Balanced] = {
            name: Shuffled(n, seeds, name) for name in (*drawn, "features")
        }
        if self.trained.head_alone_from < 1:
            drawn = (*drawn, "balanced")
            self.streams["balanced"] = Balanced(self.y["train"], seeds, "balanced")
        self.streams |= {name: Shuffled(held_out, seeds, name) for name in HELD_OUT}
        if "meta" in self.rows:
            meta = len(self.rows["meta"])
            self.meta_size = min(batch, meta)
            self.streams |= {name: Shuffled(meta, seeds, name) for name in META}
        self.augment: dict[str, CropFlip] = {}
        if augment == "crop_flip":
            # What a curvature rule draws of training is augmented as training batches are.
            self.augment = {s: CropFlip(seeds, f"augment {s}") for s in drawn}
        self.mixing: dict[str, Mixing] = {}
        if alpha := self.trained.mixing:
            self.mixing = {s: Mixing(alpha, self.classes, seeds, f"mixing {s}") for s in drawn}

    def held_out(self, stream: str = "held_out") -> Batch:
        """Draw a batch of validation images.

        Args:
            stream: The stream of random numbers, by name.

        Returns:
            Images (R, B, H, W), their labels (R, B) as given, and weights (R, B).
        """
        index = self.streams[stream].next(self.held_out_size).to(self.clean.device)
        images = self.pixels(self.rows["validation"][index])
        return images, self.y["validation"][index], self.balance[index]

    def meta(self, stream: str = "meta") -> Batch:
        """Draw a batch of the meta set, as `held_out` draws one of the validation part.

        Args:
            stream: The stream of random numbers, by name.

        Returns:
            Images (R, B, H, W), their true labels (R, B), and weights (R, B), which are 1.

        Raises:
            InputError: The variant has no meta set.
        """
        if "meta" not in self.rows:
            return super().meta(stream)
        index = self.streams[stream].next(self.meta_size).to(self.clean.device)
        labels = self.y["meta"][index]
        # The set has as many rows of every class, so the classes weigh alike by themselves.
        weights = torch.ones_like(self.balance[:1]).expand(labels.shape)
        return self.pixels(self.rows["meta"][index]), labels, weights

    def held_out_loss(self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: Batch) -> Tensor:
        """Compute the weighted mean cross-entropy of a batch of validation or of the meta set.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            batch: What `held_out` or `meta` gave.

        Returns:
            Nats (R,).
        """
        x, labels, weights = batch
        return cross_entropy(
            self.trained.adjust(ensemble.call("forward", w, c, x)), labels, weights
        )

    def held_out_logits(
        self, ensemble: Ensemble, w: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute logits of all validation images.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Logits (R, N, K) to predict with, labels as given and weights (N,).
        """
        state = self.statistics(ensemble, w, c, "train")
        chunks = self._chunks("forward", ensemble, (w, c), self.rows["validation"], state)
        return self.trained.adjust(torch.cat([*chunks], 1)), self.y["validation"], self.balance

    def features(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Tensor:
        """Compute tangent features (R, B, d) of a training batch that is not augmented.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            The features.
        """
        index = self.streams["features"].next(self.size).to(self.clean.device)
        return ensemble.call("embed", w, c, self.pixels(self.rows["train"][index]))

    def batch(self, stream: str, times: int = 1) -> Batch:
        """Draw a training batch.

        Args:
            stream: The stream of random numbers, by name.
            times: The size in training batches, at most the whole part.

        Returns:
            Images (R, B, H, W), in colour (R, B, 3, H, W), labels (R, B) as given, and which
            training rows (R, B) these are. Where the loss mixes, mixed images and shares of the
            classes (R, B, K).
        """
        size = min(times * self.size, len(self.clean))
        index = self.streams[stream].next(size).to(self.clean.device)
        # Bytes are augmented, as moving them costs less than moving floats.
        pixels = self.pixels.bytes[self.rows["train"][index]]
        if self.augment:
            pixels = self.augment[stream](pixels)
        x, y = self.pixels.floats(pixels), self.y["train"][index]
        if self.mixing:
            x, y = self.mixing[stream](x, y)
        return x, y, index

    def probe(self) -> Batch:
        """Make one fixed batch of training rows, spread over the set, the same for every run."""
        # The stride is rounded up, so that at most PROBE rows are left.
        index = self.spread[:: -(-len(self.spread) // self.PROBE)]
        # All runs share the rows, so that their sharpness is measured on the same batch.
        x, y = self.pixels(self.rows["train"][index]), self.y["train"][index]
        return x.expand(self.runs, *x.shape), y.expand(self.runs, -1), index.expand(self.runs, -1)

    def outputs(self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: Batch) -> Outputs:
        """Compute logits (R, B, K) of a batch.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            batch: What `batch` or `probe` gave.

        Returns:
            Logits, beside labels and rows.
        """
        x, labels, rows = batch
        return Outputs(ensemble.call("forward", w, c, x), labels, rows)

    def embedded(self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: Batch) -> Outputs:
        """Compute tangent features (R, B, d) of a batch.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            batch: What `batch` or `probe` gave.

        Returns:
            Features in the place of the logits, beside labels and rows.
        """
        x, labels, rows = batch
        return Outputs(ensemble.call("embed", w, c, x), labels, rows)

    def evaluate(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Metrics:
        """Compute the metrics of training, validation and test.

        Of the training part 1000 rows are evaluated, spread over it. Batch statistics, where the
        model has them, are those of the same rows.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Accuracy and NLL of every part, balanced accuracy and calibration error of validation
            and test, and `test_right`. Under a long tail also test accuracy of the thirds of the
            classes and of those with many, medium and few training rows. Under label noise also
            memorisation, the share of corrupted training labels that are predicted.
        """
        out: Metrics = {}
        right: dict[str, Tensor] = {}
        state = self.statistics(ensemble, w, c, "train")
        for part in EVALUATED:
            rows, labels = self.rows[part], self.y[part]
            # The whole training part would make an evaluation as dear as an epoch.
            if part == "train":
                rows, labels = rows[self.spread], labels[self.spread]
            logits = self._chunks("forward", ensemble, (w, c), rows, state)
            pairs = zip(logits, labels.split(CHUNK), strict=True)
            found = [answers(self.trained.adjust(z), y) for z, y in pairs]
            joined = [torch.cat(values, 1) for values in zip(*found, strict=True)]
            right[part], nll, confidence = joined
            out |= scores(part, right[part], nll, confidence, labels)
        out["test_right"] = right["test"].int()
        for name, classes in self.groups.items():
            out[f"{name}_accuracy"] = mean(right["test"][:, torch.isin(self.y["test"], classes)])
        # Without label noise no label differs, and memorisation means nothing.
        flipped = self.clean[self.spread] != self.y["train"][self.spread]
        if flipped.any():
            out["memorisation"] = mean(right["train"][:, flipped])
        return out

    def risk(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Tensor:
        """Compute the training error on `examples` rows.

        These are one of each group of near copies, and so independent. Batch statistics are those
        of validation rows: taken of the training rows they would make the network a choice that
        depends on the very examples it is certified on, and no bound for weights alone would cover
        it.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Errors (R,) in [0, 1].
        """
        rows, labels = (values["train"][self.single] for values in (self.rows, self.y))
        return self._wrong(ensemble, (w, c), rows, labels).mean(-1)

    def held_out_risk(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Tensor:
        """Compute the validation error of the network that `risk` is of.

        It is taken under the distribution that `risk` is of: labels as noisy, classes reweighted.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Errors (R,) in [0, 1].
        """
        given = (self.y["train"][self.single], self.y["validation"])
        classes = [torch.bincount(labels, minlength=self.classes) for labels in given]
        # A class that validation lacks cannot be reweighted, and must not divide by 0.
        share = (classes[0] / classes[1].clamp(min=1))[self.y["validation"]]
        wrong = self._wrong(ensemble, (w, c), self.rows["validation"], self.y["validation"])
        return (wrong * share / share.sum()).sum(-1)

    def embedding(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Compute tangent features of the test images.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Features (R, N, d) and labels (N,).
        """
        state = self.statistics(ensemble, w, c, "train")
        chunks = self._chunks("embed", ensemble, (w, c), self.rows["test"], state)
        return torch.cat([*chunks], 1), self.y["test"]

    def statistics(self, ensemble: Ensemble, w: Tensor, c: Tensor, part: str) -> State | None:
        """Compute what the model takes beside its weights at evaluation, of 1000 rows of a part.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            part: The part. Each batch is spread over the whole of it, as its rows may stand class
                by class.

        Returns:
            The statistics. None for a model that takes nothing.
        """
        spread = _spread(len(self.rows[part]), self.EVALUATED_TRAIN).to(self.clean.device)
        rows = self.rows[part][spread]
        # The batches are strided and differ by one row at most, so their plain mean is fair.
        count = -(-len(rows) // CHUNK)
        return ensemble.statistics(w, c, (self.pixels(rows[i::count]) for i in range(count)))

    def _chunks(
        self,
        method: str,
        ensemble: Ensemble,
        at: tuple[Tensor, Tensor],
        rows: Tensor,
        state: State | None,
    ) -> Iterator[Tensor]:
        """Apply the model to images at weights and curvatures, CHUNK of them at a time."""
        for some in rows.split(CHUNK):
            yield ensemble.call(method, *at, self.pixels(some), shared=True, state=state)

    def _wrong(
        self, ensemble: Ensemble, at: tuple[Tensor, Tensor], rows: Tensor, labels: Tensor
    ) -> Tensor:
        """Return the errors (R, N) as 0 and 1."""
        # See `risk`: what is certified must not depend on the training rows in this way.
        state = self.statistics(ensemble, *at, "validation")
        chunks = self._chunks("forward", ensemble, at, rows, state)
        predicted = [self.trained.adjust(logits).argmax(-1) for logits in chunks]
        return (torch.cat(predicted, 1) != labels).double()


def _spread(n: int, most: int) -> Tensor:
    """Choose at most so many of n rows, evenly spread."""
    # Rows may stand class by class, so the first ones would be of few classes.
    return torch.linspace(0, n - 1, min(n, most)).long()
