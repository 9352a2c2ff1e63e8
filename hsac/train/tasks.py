"""What a setting asks of training: batches, a loss, and metrics. One class a kind of data."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hsac.data import load_graph, load_images
from hsac.errors import InputError
from hsac.train.bundle import Bundle
from hsac.train.seeds import generator

Metrics = dict[str, Tensor]
CHUNK = 512  # rows a forward pass of an evaluation takes at once; larger ones fall out of the cache


class Task(Protocol):
    """`steps_per_epoch` batches make an epoch. Batches are per run; losses and metrics are (R,), but for test_right:
    (R, N), how many of the `asked` answers of each of the N test items (or episodes) are right."""

    steps_per_epoch: int
    asked: int

    def batch(self, stream: str) -> Any: ...
    def probe(self) -> Any: ...
    def loss(self, bundle: Bundle, w: Tensor, c: Tensor, batch: Any) -> Tensor: ...
    def evaluate(self, bundle: Bundle, w: Tensor, c: Tensor) -> Metrics: ...


def accuracy_and_nll(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """logits (R, N, K), labels (N,) -> accuracy (R,) in [0, 1] and negative log-likelihood (R,) in nats."""
    right = (logits.argmax(-1) == labels).double().mean(-1)
    nll = -logits.log_softmax(-1).gather(-1, labels.expand(logits.shape[:-1])[..., None]).squeeze(-1)
    return right, nll.double().mean(-1)


def _check_data(dataset: str, variant: dict[str, Any], found: str) -> None:
    if variant["data_sha256"] != found:
        name, cut_from = variant["name"], variant["data_sha256"]
        raise InputError(
            f"variant {name} of {dataset}: cut from data {cut_from[:16]}, found {found[:16]}; delete the file"
        )


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
    """Classification of images; long-tailed and noisy variants are the same task on other indices and labels."""

    EVALUATED_TRAIN = 1000
    PROBE = 256
    asked = 1

    def __init__(
        self, dataset: str, variant: dict[str, Any], root: Any, seeds: Sequence[int], batch: int, like: Tensor
    ) -> None:
        images = load_images(dataset, root)
        _check_data(dataset, variant, images.sha256)
        x = torch.as_tensor(images.image).to(like) / 255
        labels = torch.as_tensor(images.label).long().to(like.device)
        rows = {part: torch.as_tensor(index).to(like.device) for part, index in variant["indices"].items()}
        given = {part: torch.as_tensor(y).to(like.device) for part, y in variant.get("labels", {}).items()}
        self.x = {part: x[index] for part, index in rows.items()}
        self.y = {part: given.get(part, labels[index]) for part, index in rows.items()}
        self.clean = labels[rows["train"]]
        n = len(rows["train"])
        group = images.group[rows["train"].cpu()]
        self.single = torch.as_tensor(np.unique(group, return_index=True)[1]).to(like.device)
        self.examples = len(self.single)
        self.chance = _chance(self.y["train"][self.single])
        self.spread = torch.linspace(0, n - 1, min(n, self.EVALUATED_TRAIN)).long().to(like.device)
        self.thirds = (
            _thirds(self.y["train"], len(images.classes)) if variant["recipe"]["recipe"] == "long_tail" else {}
        )
        self.inputs, self.classes = tuple(x.shape[1:]), len(images.classes)
        self.size = min(batch, n)
        self.steps_per_epoch = max(1, n // self.size)
        self.streams = {name: Shuffled(n, seeds, name) for name in ("batches", "upper")}

    def batch(self, stream: str) -> tuple[Tensor, Tensor]:
        """Images (R, B, H, W) and given labels (R, B)."""
        rows = self.streams[stream].next(self.size).to(self.clean.device)
        return self.x["train"][rows], self.y["train"][rows]

    def probe(self) -> tuple[Tensor, Tensor]:
        """One fixed batch of training rows, spread over the set, the same for every run."""
        rows = self.spread[:: -(-len(self.spread) // self.PROBE)]
        runs = len(self.streams["batches"].generators)
        x, y = self.x["train"][rows], self.y["train"][rows]
        return x.expand(runs, *x.shape), y.expand(runs, *y.shape)

    def loss(self, bundle: Bundle, w: Tensor, c: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Mean cross-entropy (R,)."""
        return _cross_entropy(bundle.call("forward", w, c, batch[0]), batch[1])

    def evaluate(self, bundle: Bundle, w: Tensor, c: Tensor) -> Metrics:
        """Accuracy and NLL of every part (1000 rows of train, spread); thirds of the classes under a long tail;
        memorisation, the share of corrupted training labels that are predicted, under noise."""
        out: Metrics = {}
        logits: dict[str, Tensor] = {}
        for part in self.x:
            x, y = self.x[part], self.y[part]
            x, y = (x[self.spread], y[self.spread]) if part == "train" else (x, y)
            chunks = [bundle.call("forward", w, c, rows, shared=True) for rows in x.split(CHUNK)]
            logits[part] = torch.cat(chunks, 1)
            out[f"{part}_accuracy"], out[f"{part}_nll"] = accuracy_and_nll(logits[part], y)
        out["test_right"] = (logits["test"].argmax(-1) == self.y["test"]).int()
        for name, classes in self.thirds.items():
            inside = torch.isin(self.y["test"], classes)
            out[f"{name}_accuracy"] = accuracy_and_nll(logits["test"][:, inside], self.y["test"][inside])[0]
        given = self.y["train"][self.spread]
        flipped = self.clean[self.spread] != given
        if flipped.any():
            out["memorisation"] = accuracy_and_nll(logits["train"][:, flipped], given[flipped])[0]
        return out

    def risk(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor:
        """Training error (R,) on `examples` rows, one of each group of near copies: these are independent."""
        x, y = (values["train"][self.single] for values in (self.x, self.y))
        return self._wrong(bundle, w, c, x, y).mean(-1)

    def held_out_risk(self, bundle: Bundle, w: Tensor, c: Tensor) -> Tensor:
        """Error (R,) on validation under the distribution `risk` is of: labels as noisy, classes reweighted."""
        given = (self.y["train"][self.single], self.y["validation"])
        classes = [torch.bincount(labels, minlength=self.classes) for labels in given]
        share = (classes[0] / classes[1].clamp(min=1))[self.y["validation"]]
        wrong = self._wrong(bundle, w, c, self.x["validation"], self.y["validation"])
        return (wrong * share / share.sum()).sum(-1)

    def _wrong(self, bundle: Bundle, w: Tensor, c: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Errors (R, N) as 0 and 1."""
        chunks = [bundle.call("forward", w, c, rows, shared=True).argmax(-1) for rows in x.split(CHUNK)]
        return (torch.cat(chunks, 1) != y).double()

    def embedding(self, bundle: Bundle, w: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Tangent features (R, N, d) of the test images, and their labels (N,)."""
        return bundle.call("embed", w, c, self.x["test"], shared=True), self.y["test"]


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

    def batch(self, stream: str) -> None:
        """Every batch is all training nodes."""

    def probe(self) -> None:
        """The same nodes."""

    def loss(self, bundle: Bundle, w: Tensor, c: Tensor, batch: None) -> Tensor:
        """Mean cross-entropy over the training nodes (R,)."""
        logits = bundle.call("forward", w, c, self.graph, shared=True)[:, self.rows["train"]]
        return _cross_entropy(logits, self.y[self.rows["train"]].expand(len(w), -1))

    def evaluate(self, bundle: Bundle, w: Tensor, c: Tensor) -> Metrics:
        """Accuracy and NLL of every part."""
        logits = bundle.call("forward", w, c, self.graph, shared=True)
        out: Metrics = {}
        for part, rows in self.rows.items():
            out[f"{part}_accuracy"], out[f"{part}_nll"] = accuracy_and_nll(logits[:, rows], self.y[rows])
        out["test_right"] = (logits[:, self.rows["test"]].argmax(-1) == self.y[self.rows["test"]]).int()
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

    def __init__(
        self, dataset: str, variant: dict[str, Any], root: Any, seeds: Sequence[int], batch: int, like: Tensor
    ) -> None:
        images = load_images(dataset, root)
        _check_data(dataset, variant, images.sha256)
        x = torch.as_tensor(images.image).to(like) / 255
        self.x = 1 - x if x.mean() > 0.5 else x  # strokes bright on dark, whatever the source's convention
        self.episodes = {p: torch.as_tensor(e).to(like.device) for p, e in variant["episodes"].items()}
        self.shot, self.way, self.query = variant["shot"], self.episodes["train"].shape[1], variant["query"]
        self.inputs = tuple(x.shape[1:])
        self.answers = torch.arange(self.way, device=like.device).repeat_interleave(self.query)
        self.asked = len(self.answers)
        n = len(self.episodes["train"])
        self.size = min(batch, n)
        self.steps_per_epoch = max(1, n // self.size)
        self.streams = {name: Shuffled(n, seeds, name) for name in ("batches", "upper")}

    def batch(self, stream: str) -> Tensor:
        """Episodes of images (R, E, way, shot + query, H, W)."""
        return self.x[self.episodes["train"][self.streams[stream].next(self.size).to(self.x.device)]]

    def probe(self) -> Tensor:
        """Four fixed training episodes, the same for every run."""
        runs = len(self.streams["batches"].generators)
        images = self.x[self.episodes["train"][:4]]
        return images.expand(runs, *images.shape)

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
            chunks = [bundle.call("embed", w, c, self.x[part], shared=True) for part in rows.split(CHUNK)]
            logits = bundle.call("classify", w, c, torch.cat(chunks, 1)[:, place])
            right, nll = accuracy_and_nll(logits.flatten(1, 2), self.answers.repeat(len(episodes)))
            out[f"{part}_accuracy"], out[f"{part}_nll"] = right, nll
            if part == "test":
                out["test_right"] = (logits.argmax(-1) == self.answers).sum(-1)
                out["test_accuracy_episode_sd"] = (out["test_right"].double() / self.asked).std(-1)
        return out


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """logits (R, N, K), labels (R, N) -> (R,)."""
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").unflatten(0, labels.shape).mean(-1)
