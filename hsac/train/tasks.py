"""What a setting asks of training: batches, a loss, and metrics. One class a kind of data."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hsac.data import load_graph, load_images
from hsac.errors import InputError
from hsac.train.augment import CropFlip
from hsac.train.bundle import Bundle, State
from hsac.train.seeds import generator

Metrics = dict[str, Tensor]
CHUNK = 512  # rows a forward pass of an evaluation takes at once; larger ones fall out of the cache
DISTANCES = 2**22  # numbers between queries and prototypes that an evaluation holds at once


class Task(Protocol):
    """`steps_per_epoch` batches make an epoch. Batches are per run; losses and metrics are (R,), but for test_right:
    (R, N), how many of the `asked` answers of each of the N test items (or episodes) are right."""

    steps_per_epoch: int
    asked: int

    def batch(self, stream: str) -> Any: ...
    def probe(self) -> Any: ...
    def loss(self, bundle: Bundle, w: Tensor, c: Tensor, batch: Any) -> Tensor: ...
    def evaluate(self, bundle: Bundle, w: Tensor, c: Tensor) -> Metrics: ...


def answers(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """logits (R, ..., N, K), labels (N,) -> which are right (R, ..., N), bool, and negative log-likelihoods in nats."""
    nll = -logits.log_softmax(-1).gather(-1, labels.expand(logits.shape[:-1])[..., None]).squeeze(-1)
    return logits.argmax(-1) == labels, nll


def mean(values: Tensor) -> Tensor:
    """(R, N) -> (R,), in float64."""
    return values.double().mean(-1)


def _check_data(dataset: str, variant: dict[str, Any], found: str) -> None:
    if variant["data_sha256"] != found:
        name, cut_from = variant["name"], variant["data_sha256"]
        raise InputError(
            f"variant {name} of {dataset}: cut from data {cut_from[:16]}, found {found[:16]}; delete the file"
        )


class Pixels:
    """An image set kept as bytes on the device of `like`: uint8 (N, H, W), or (N, H, W, 3) laid channels first.

    `shape` is (H, W) or (3, H, W). Floats of `like`'s dtype in [0, 1] are made of the rows asked for, no more.
    """

    def __init__(self, image: np.ndarray, like: Tensor) -> None:
        stored = torch.as_tensor(image)
        self.bytes = (stored.movedim(-1, 1).contiguous() if stored.dim() == 4 else stored).to(like.device)
        self.like, self.shape = like, tuple(self.bytes.shape[1:])

    def __call__(self, rows: Tensor) -> Tensor:
        """rows (...) -> floats (..., *shape)."""
        return self.floats(self.bytes[rows])

    def floats(self, pixels: Tensor) -> Tensor:
        """Bytes as floats in [0, 1]."""
        return pixels.to(self.like) / 255


class Shuffled:
    """Per-run streams of shuffled rows, epoch after epoch: `next(size)` -> (R, size) indices below n."""

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
    """Classification of images; long-tailed and noisy variants are the same task on other indices and labels.

    `augment` None, or `crop_flip`: what is done to training batches, and to nothing else. A model with batch statistics
    is evaluated with those of rows whose labels play no part in it: see `evaluate` and `risk`.
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
    ) -> None:
        images = load_images(dataset, root)
        _check_data(dataset, variant, images.sha256)
        self.pixels = Pixels(images.image, like)
        labels = torch.as_tensor(images.label).long().to(like.device)
        self.rows = {part: torch.as_tensor(index).to(like.device) for part, index in variant["indices"].items()}
        given = {part: torch.as_tensor(y).to(like.device) for part, y in variant.get("labels", {}).items()}
        self.y = {part: given.get(part, labels[index]) for part, index in self.rows.items()}
        self.clean = labels[self.rows["train"]]
        n = len(self.clean)
        group = images.group[self.rows["train"].cpu()]
        self.single = torch.as_tensor(np.unique(group, return_index=True)[1]).to(like.device)
        self.examples = len(self.single)
        self.chance = _chance(self.y["train"][self.single])
        self.spread = _spread(n, self.EVALUATED_TRAIN).to(like.device)
        self.thirds = (
            _thirds(self.y["train"], len(images.classes)) if variant["recipe"]["recipe"] == "long_tail" else {}
        )
        self.inputs, self.classes, self.runs = self.pixels.shape, len(images.classes), len(seeds)
        self.size = min(batch, n)
        self.steps_per_epoch = max(1, n // self.size)
        self.streams = {name: Shuffled(n, seeds, name) for name in ("batches", "upper")}
        self.augment = {name: CropFlip(seeds, f"augment {name}") for name in self.streams if augment == "crop_flip"}

    def batch(self, stream: str) -> tuple[Tensor, Tensor]:
        """Images (R, B, H, W), (R, B, 3, H, W) in colour, and given labels (R, B)."""
        index = self.streams[stream].next(self.size).to(self.clean.device)
        pixels = self.pixels.bytes[self.rows["train"][index]]
        if self.augment:
            pixels = self.augment[stream](pixels)
        return self.pixels.floats(pixels), self.y["train"][index]

    def probe(self) -> tuple[Tensor, Tensor]:
        """One fixed batch of training rows, spread over the set, the same for every run."""
        index = self.spread[:: -(-len(self.spread) // self.PROBE)]
        x, y = self.pixels(self.rows["train"][index]), self.y["train"][index]
        return x.expand(self.runs, *x.shape), y.expand(self.runs, *y.shape)

    def loss(self, bundle: Bundle, w: Tensor, c: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Mean cross-entropy (R,)."""
        return _cross_entropy(bundle.call("forward", w, c, batch[0]), batch[1])

    def evaluate(self, bundle: Bundle, w: Tensor, c: Tensor) -> Metrics:
        """Accuracy and NLL of every part (1000 rows of train, spread); thirds of the classes under a long tail;
        memorisation, the share of corrupted training labels that are predicted, under noise.

        Batch statistics, where the model has them, are those of the same 1000 training rows.
        """
        out: Metrics = {}
        right: dict[str, Tensor] = {}
        state = self.statistics(bundle, w, c, "train")
        for part in self.rows:
            rows, labels = self.rows[part], self.y[part]
            rows, labels = (rows[self.spread], labels[self.spread]) if part == "train" else (rows, labels)
            logits = self._chunks("forward", bundle, w, c, rows, state)
            found = [answers(part, y) for part, y in zip(logits, labels.split(CHUNK), strict=True)]
            right[part], nll = (torch.cat(values, 1) for values in zip(*found, strict=True))
            out[f"{part}_accuracy"], out[f"{part}_nll"] = mean(right[part]), mean(nll)
        out["test_right"] = right["test"].int()
        for name, classes in self.thirds.items():
            out[f"{name}_accuracy"] = mean(right["test"][:, torch.isin(self.y["test"], classes)])
        flipped = self.clean[self.spread] != self.y["train"][self.spread]
        if flipped.any():
            out["memorisation"] = mean(right["train"][:, flipped])
        return out

    def risk(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor:
        """Training error (R,) on `examples` rows, one of each group of near copies: these are independent.

        Batch statistics are those of validation rows: taken of the training rows they would make the network a choice
        that depends on the very examples it is certified on, and no bound for weights alone would cover it.
        """
        rows, labels = (values["train"][self.single] for values in (self.rows, self.y))
        return self._wrong(bundle, w, c, rows, labels).mean(-1)

    def held_out_risk(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor:
        """Error (R,) on validation of the network that `risk` is of, under the distribution that `risk` is of: labels
        as noisy, classes reweighted."""
        given = (self.y["train"][self.single], self.y["validation"])
        classes = [torch.bincount(labels, minlength=self.classes) for labels in given]
        share = (classes[0] / classes[1].clamp(min=1))[self.y["validation"]]
        wrong = self._wrong(bundle, w, c, self.rows["validation"], self.y["validation"])
        return (wrong * share / share.sum()).sum(-1)

    def embedding(self, bundle: Bundle, w: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent features (R, N, d) of the test images, and their labels (N,)."""
        state = self.statistics(bundle, w, c, "train")
        return torch.cat([*self._chunks("embed", bundle, w, c, self.rows["test"], state)], 1), self.y["test"]

    def statistics(self, bundle: Bundle, w: Tensor, c: Tensor, part: str) -> State | None:
        """What the bundle's model takes beside its weights at evaluation, of 1000 rows spread over a part; None for a
        model that takes nothing. Each batch is spread over the whole part, whose rows may stand class by class."""
        rows = self.rows[part][_spread(len(self.rows[part]), self.EVALUATED_TRAIN).to(self.clean.device)]
        count = -(-len(rows) // CHUNK)
        return bundle.statistics(w, c, (self.pixels(rows[i::count]) for i in range(count)))

    def _chunks(
        self, method: str, bundle: Bundle, w: Tensor, c: Tensor, rows: Tensor, state: State | None
    ) -> Iterator[Tensor]:
        """What the model makes of images, CHUNK of them at a time."""
        return (bundle.call(method, w, c, self.pixels(some), shared=True, state=state) for some in rows.split(CHUNK))

    def _wrong(self, bundle: Bundle, w: Tensor, c: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        """Errors (R, N) as 0 and 1."""
        state = self.statistics(bundle, w, c, "validation")
        predicted = [logits.argmax(-1) for logits in self._chunks("forward", bundle, w, c, rows, state)]
        return (torch.cat(predicted, 1) != labels).double()


def _spread(n: int, most: int) -> Tensor:
    """At most so many of n rows, evenly spread."""
    return torch.linspace(0, n - 1, min(n, most)).long()


def _chance(labels: Tensor) -> float:
    """Error of always predicting the most frequent label."""
    return 1 - float(torch.bincount(labels).max()) / len(labels)


def _thirds(labels: Tensor, classes: int) -> dict[str, Tensor]:
    order = torch.bincount(labels, minlength=classes).argsort(descending=True, stable=True)
    names = ("head", "middle", "tail")
    return {name: part for name, part in zip(names, order.tensor_split(3), strict=True) if len(part)}


class NodeTask:
    """Node classification on one graph, full batch."""

    steps_per_epoch = 1
    asked = 1

    def __init__(self, dataset: str, variant: dict[str, Any], root: Any, seeds: Sequence[int], like: Tensor) -> None:
        from torch_geometric.nn.conv.gcn_conv import gcn_norm

        graph = load_graph(dataset, root)
        _check_data(dataset, variant, graph.sha256)
        edge_index, weight = gcn_norm(graph.edge_index, num_nodes=graph.num_nodes, dtype=like.dtype)
        x = graph.x.to(like)
        if "columns" in variant:
            x = x[:, variant["columns"]]
        self.graph = (x, *(e.to(like.device) for e in edge_index), weight.to(like))
        self.y = graph.y.long().to(like.device)
        self.rows = {part: torch.as_tensor(index).to(like.device) for part, index in variant["indices"].items()}
        self.inputs, self.classes = x.shape[1], int(graph.y.max()) + 1
        self.examples, self.chance = len(self.rows["train"]), _chance(self.y[self.rows["train"]])
        self.seeds, self.rate = seeds, 0.0
        self.widths: tuple[int, ...] = ()
        self.streams: dict[str, list[torch.Generator]] = {}

    def drop(self, rate: float, widths: tuple[int, ...]) -> None:
        """From now on batches bring dropout masks at `rate`, one for each layer that takes `widths` features."""
        self.rate, self.widths = rate, widths

    def batch(self, stream: str) -> dict[str, Tensor] | None:
        """Every batch is all training nodes; with dropout, masks layer<i> (R, nodes, width) of what is kept."""
        if not self.rate:
            return None
        streams = self.streams.setdefault(stream, [generator(seed, f"dropout {stream}") for seed in self.seeds])
        return {
            f"layer{i}": torch.stack([torch.rand((len(self.y), width), generator=g) >= self.rate for g in streams]).to(
                self.y.device
            )
            for i, width in enumerate(self.widths)
        }

    def probe(self) -> None:
        """The same nodes, nothing dropped."""

    def loss(self, bundle: Bundle, w: Tensor, c: Tensor, batch: dict[str, Tensor] | None) -> Tensor:
        """Mean cross-entropy over the training nodes (R,)."""
        logits = bundle.call("forward", w, c, self.graph, shared=True, state=batch)[:, self.rows["train"]]
        return _cross_entropy(logits, self.y[self.rows["train"]].expand(len(w), -1))

    def evaluate(self, bundle: Bundle, w: Tensor, c: Tensor) -> Metrics:
        """Accuracy and NLL of every part."""
        logits = bundle.call("forward", w, c, self.graph, shared=True)
        out: Metrics = {}
        for part, rows in self.rows.items():
            right, nll = answers(logits[:, rows], self.y[rows])
            out[f"{part}_accuracy"], out[f"{part}_nll"] = mean(right), mean(nll)
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
        logits = bundle.call("forward", w, c, self.graph, shared=True)[:, self.rows[part]]
        return (logits.argmax(-1) != self.y[self.rows[part]]).double().mean(-1)

    def embedding(self, bundle: Bundle, w: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent features (R, N, d) of the test nodes, and their labels (N,)."""
        features = bundle.call("embed", w, c, self.graph, shared=True)
        return features[:, self.rows["test"]], self.y[self.rows["test"]]


class EpisodeTask:
    """Few-shot classification on stored episodes."""

    EVALUATED_TRAIN = 50
    PROBE = 400

    def __init__(
        self, dataset: str, variant: dict[str, Any], root: Any, seeds: Sequence[int], batch: int, like: Tensor
    ) -> None:
        images = load_images(dataset, root)
        _check_data(dataset, variant, images.sha256)
        self.pixels = Pixels(images.image, like)
        self.episodes = {p: torch.as_tensor(e).to(like.device) for p, e in variant["episodes"].items()}
        self.shot, self.way, self.query = variant["shot"], self.episodes["train"].shape[1], variant["query"]
        self.inputs, self.runs = self.pixels.shape, len(seeds)
        self.answers = torch.arange(self.way, device=like.device).repeat_interleave(self.query)
        self.asked = len(self.answers)
        n = len(self.episodes["train"])
        self.size = min(batch, n)
        self.steps_per_epoch = max(1, n // self.size)
        self.streams = {name: Shuffled(n, seeds, name) for name in ("batches", "upper")}

    def batch(self, stream: str) -> Tensor:
        """Episodes of images (R, E, way, shot + query, H, W), in colour (..., 3, H, W)."""
        index = self.streams[stream].next(self.size).to(self.answers.device)
        return self.pixels(self.episodes["train"][index])

    def probe(self) -> Tensor:
        """The first training episodes, the same for every run: four, or as many as PROBE images give, at least one."""
        count = max(1, min(4, self.PROBE // self.episodes["train"][0].numel()))
        images = self.pixels(self.episodes["train"][:count])
        return images.expand(self.runs, *images.shape)

    def loss(self, bundle: Bundle, w: Tensor, c: Tensor, batch: Tensor) -> Tensor:
        """Mean cross-entropy of the queries (R,)."""
        logits = bundle.call("forward", w, c, batch).flatten(1, 2)
        return _cross_entropy(logits, self.answers.repeat(batch.shape[1]).expand(len(w), -1))

    def evaluate(self, bundle: Bundle, w: Tensor, c: Tensor) -> Metrics:
        """Accuracy and NLL over the episodes of every part (the first 50 of train), and the test episodes' spread."""
        out: Metrics = {}
        for part, episodes in self.episodes.items():
            episodes = episodes[: self.EVALUATED_TRAIN] if part == "train" else episodes
            rows, place = episodes.unique(return_inverse=True)  # an image stands in many episodes: embed it once
            chunks = [bundle.call("embed", w, c, self.pixels(some), shared=True) for some in rows.split(CHUNK)]
            u = torch.cat(chunks, 1)
            size = max(1, DISTANCES // (len(w) * self.asked * self.way * u.shape[-1]))
            found = [answers(bundle.call("classify", w, c, u[:, some]), self.answers) for some in place.split(size)]
            right, nll = (torch.cat(values, 1) for values in zip(*found, strict=True))
            out[f"{part}_accuracy"], out[f"{part}_nll"] = mean(right.flatten(1)), mean(nll.flatten(1))
            if part == "test":
                out["test_right"] = right.sum(-1)
                out["test_accuracy_episode_sd"] = (out["test_right"].double() / self.asked).std(-1)
        return out


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """logits (R, N, K), labels (R, N) -> (R,)."""
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").unflatten(0, labels.shape).mean(-1)
