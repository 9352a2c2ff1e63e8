"""Few-shot classification on stored episodes."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hsac.errors import InputError
from hsac.models.types import Episodic
from hsac.study.part import Part
from hsac.train.ensemble import Ensemble
from hsac.train.tasks.images import CHUNK, Pixels, Shuffled
from hsac.train.tasks.metrics import answers, calibration_error, cross_entropy, mean
from hsac.train.tasks.types import (
    CROSS_ENTROPY,
    HELD_OUT,
    SAMPLES,
    Arrays,
    Metrics,
    Outputs,
    WithoutMetaSet,
    training_loss,
)

if TYPE_CHECKING:  # what a file holds is no part of what is computed from it
    from hsac.data.stored_variant import StoredVariant

DISTANCES = 2**22  # numbers between queries and prototypes that an evaluation holds at once


class EpisodeTask(WithoutMetaSet):
    """Few-shot classification on stored episodes.

    Attributes:
        pixels: All images of the dataset.
        episodes: Rows (E, way, shot + query) of the episodes of each part.
        answers: The right answers (way·query,) of an episode's queries.
    """

    # Training episodes of an evaluation, and images of the batch that sharpness is measured on.
    EVALUATED_TRAIN = 50
    PROBE = 400
    selected_by = "validation_accuracy"

    def __init__(
        self,
        arrays: Arrays,
        variant: "StoredVariant",
        seeds: Sequence[int],
        batch: int,
        like: Tensor,
        trained: Part = CROSS_ENTROPY,
    ) -> None:
        """Lay out the episodes for training.

        Args:
            arrays: The dataset, of which the array `image` is used.
            variant: Episodes of each part, with `shot` and `query`.
            seeds: The seeds of the R runs.
            batch: Episodes of a training batch.
            like: A tensor of the model's dtype and device.
            trained: Name and parameters of the training loss.
        """
        self.pixels = Pixels(arrays["image"], like)
        self.episodes = {
            part: torch.as_tensor(rows).to(like.device)
            for part, rows in variant["episodes"].items()
        }
        self.shot, self.query = variant["shot"], variant["query"]
        self.way = self.episodes["train"].shape[1]
        self.inputs, self.runs = self.pixels.shape, len(seeds)
        self.trained = training_loss(trained, None, self.way, like)
        # A model answers an episode's queries class by class.
        self.answers = torch.arange(self.way, device=like.device).repeat_interleave(self.query)
        self.asked = len(self.answers)
        self.examples = n = len(self.episodes["train"])
        held_out = len(self.episodes["validation"])
        self.size, self.held_out_size = min(batch, n), min(batch, held_out)
        # An epoch drops what is too little for a batch. To cover the whole part takes a batch more.
        self.steps_per_epoch, self.batches = max(1, n // self.size), -(-n // self.size)
        drawn = ("batches", *SAMPLES, "features")
        self.streams = {name: Shuffled(n, seeds, name) for name in drawn}
        self.streams |= {name: Shuffled(held_out, seeds, name) for name in HELD_OUT}

    def held_out(self, stream: str = "held_out") -> Tensor:
        """Draw validation episodes.

        Args:
            stream: The stream of random numbers, by name.

        Returns:
            Images (R, E, way, shot + query, H, W).
        """
        index = self.streams[stream].next(self.held_out_size).to(self.answers.device)
        return self.pixels(self.episodes["validation"][index])

    def held_out_loss(self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: Tensor) -> Tensor:
        """Compute the mean cross-entropy of the queries of validation episodes.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            batch: What `held_out` gave.

        Returns:
            Nats (R,).
        """
        # An episode asks for every class as often, so its queries weigh alike.
        logits, labels, _ = self.outputs(ensemble, w, c, batch)
        return cross_entropy(self.trained.adjust(logits), labels, torch.ones_like(logits[..., 0]))

    def held_out_logits(
        self, ensemble: Ensemble, w: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute logits of the queries of all validation episodes.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Logits (R, N, way) to predict with, labels and weights (N,).
        """
        episodes = self.episodes["validation"]
        logits = torch.cat([*self._logits(ensemble, w, c, episodes)], 1).flatten(1, 2)
        return logits, self.answers.repeat(len(episodes)), logits.new_ones(logits.shape[1])

    def embedded(self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: Tensor) -> Outputs:
        """Refuse: classes differ from episode to episode, so no head is trained."""
        raise InputError(
            "curvature rule: found one that solves the head, and episodes have none; allowed is a"
            " rule for a model without a head"
        )

    def features(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Tensor:
        """Compute tangent features (R, N, d) of the images of training episodes.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            The features.
        """
        return ensemble.call("embed", w, c, self.batch("features").flatten(1, 3))

    def batch(self, stream: str, times: int = 1) -> Tensor:
        """Draw training episodes.

        Args:
            stream: The stream of random numbers, by name.
            times: The size in training batches, at most the whole part.

        Returns:
            Images (R, E, way, shot + query, H, W), in colour (..., 3, H, W).
        """
        size = min(times * self.size, self.examples)
        index = self.streams[stream].next(size).to(self.answers.device)
        return self.pixels(self.episodes["train"][index])

    def probe(self) -> Tensor:
        """Make a batch of the first training episodes, the same for every run.

        These are four, or as many as `PROBE` images give, at least one.
        """
        # Sharpness differentiates the whole probe at once, so its images bound memory.
        count = max(1, min(4, self.PROBE // self.episodes["train"][0].numel()))
        images = self.pixels(self.episodes["train"][:count])
        return images.expand(self.runs, *images.shape)

    def outputs(self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: Tensor) -> Outputs:
        """Compute logits (R, E·Q, way) of the queries of a batch of episodes.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            batch: What `batch` or `probe` gave.

        Returns:
            Logits, beside their classes' places.
        """
        logits = ensemble.call("forward", w, c, batch).flatten(1, 2)
        return Outputs(logits, self.answers.repeat(batch.shape[1]).expand(len(w), -1), None)

    def evaluate(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Metrics:
        """Compute the metrics of every part.

        Of the training part the first 50 episodes are evaluated. An episode asks for every class as
        often, so every accuracy is balanced.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Accuracy and NLL over the episodes of every part, calibration error of validation and
            test, `test_right`, and the test episodes' spread.
        """
        out: Metrics = {}
        for part, episodes in self.episodes.items():
            if part == "train":
                episodes = episodes[: self.EVALUATED_TRAIN]
            chunks = self._logits(ensemble, w, c, episodes)
            found = [answers(logits, self.answers) for logits in chunks]
            joined = [torch.cat(values, 1) for values in zip(*found, strict=True)]
            right, nll, confidence = joined
            out[f"{part}_accuracy"] = mean(right.flatten(1))
            out[f"{part}_nll"] = mean(nll.flatten(1))
            if part != "train":
                out[f"{part}_ece"] = calibration_error(right.flatten(1), confidence.flatten(1))
            if part == "test":
                out["test_right"] = right.sum(-1)
                # Few-shot results have two uncertainties: over episodes, which is this one, and
                # over seeds.
                out["test_accuracy_episode_sd"] = (out["test_right"].double() / self.asked).std(-1)
        return out

    def _logits(
        self, ensemble: Ensemble, w: Tensor, c: Tensor, episodes: Tensor
    ) -> Iterator[Tensor]:
        """Yield the logits to predict with (R, some, way·query, way).

        They come as many episodes at a time as memory should hold.
        """
        if not isinstance(ensemble.model, Episodic):  # its features are the episode's own
            # CHUNK counts images, and an episode holds many.
            size = max(1, CHUNK // episodes[0].numel())
            for some in episodes.split(size):
                logits = ensemble.call("forward", w, c, self.pixels(some), shared=True)
                yield self.trained.adjust(logits)
            return
        # An image stands in many episodes, so each is embedded once.
        rows, place = episodes.unique(return_inverse=True)
        chunks = []
        for some in rows.split(CHUNK):
            chunks.append(ensemble.call("embed", w, c, self.pixels(some), shared=True))
        u = torch.cat(chunks, 1)
        # Every query of an episode is compared with every prototype, in every dimension.
        size = max(1, DISTANCES // (len(w) * self.asked * self.way * u.shape[-1]))
        for some in place.split(size):
            yield self.trained.adjust(ensemble.call("classify", w, c, u[:, some]))
