"""Few-shot episodes, drawn once and shared by every method and seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hsac.data.variants._parts import Arrays, generator, whole
from hsac.errors import InputError
from hsac.registry import require


def build(
    arrays: Arrays,
    *,
    way: int,
    shot: int,
    query: int,
    train: int,
    validation: int,
    test: int,
    draw: int = 0,
) -> dict[str, Any]:
    """Draw ``train``, ``validation`` and ``test`` episodes from the classes of each part.

    An episode is ``way`` classes of one part and of each ``shot`` support rows, then ``query`` others, all different.
    Returns words, counts, shot, query and episodes, int64 (E, way, shot + query) rows of the dataset for each part.
    Raises InputError for a number below 1, a part with fewer classes than ``way``, or a class with fewer rows than
    shot + query. Source: Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016.
    """
    sizes = {"train": train, "validation": validation, "test": test}
    for name, value in {"way": way, "shot": shot, "query": query, **sizes}.items():
        least = 2 if name == "way" else 1
        require(whole(value) and value >= least, name, value, f"an integer from {least}")
    if "split" not in arrays:
        raise InputError("recipe: found a graph; allowed are image sets")
    episodes, classes = {}, {}
    for code, part in enumerate(sizes):
        rows = np.flatnonzero(arrays["split"] == code)
        labels, per_class = np.unique(arrays["label"][rows], return_counts=True)
        require(way <= len(labels), "way", way, f"up to {len(labels)}, the classes of the {part} part")
        fewest = int(per_class.min())
        require(shot + query <= fewest, "shot + query", shot + query, f"up to {fewest}, the rows of a {part} class")
        seed = int(generator(draw, f"episodes {part}").integers(2**31))
        episodes[part] = _draw(rows, arrays["label"][rows], way, shot + query, sizes[part], seed)
        classes[part] = len(labels)
    return {
        "words": f"{way}-way {shot}-shot, {query} queries a class, classes of the parts disjoint: {train} training, "
        f"{validation} validation and {test} test episodes (draw {draw})",
        "counts": {**sizes, "classes": classes},
        "shot": shot,
        "query": query,
        "episodes": episodes,
    }


def _draw(rows: np.ndarray, labels: np.ndarray, way: int, size: int, episodes: int, seed: int) -> np.ndarray:
    """Episodes int64 (episodes, way, size) from ``rows`` with ``labels``, by learn2learn's task transforms."""
    from torch.utils.data import StackDataset

    from hsac.data._learn2learn import learn2learn

    data = learn2learn().data
    dataset = data.MetaDataset(StackDataset(rows.tolist(), labels.tolist()))
    transforms = [
        data.transforms.NWays(dataset, n=way),
        data.transforms.KShots(dataset, k=size),
        data.transforms.LoadData(dataset),
    ]
    tasks = data.Taskset(dataset, task_transforms=transforms, num_tasks=episodes, task_collate=list)
    with _seeded(seed):
        drawn = [tasks[i] for i in range(episodes)]
    # KShots leaves the rows of a class side by side
    return np.array([[row for row, _ in task] for task in drawn], dtype=np.int64).reshape(episodes, way, size)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global generators that learn2learn may draw from, seeded inside and put back after."""
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
