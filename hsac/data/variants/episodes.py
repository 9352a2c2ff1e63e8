"""Few-shot episodes, drawn once and shared by every method and seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hsac.data.variants._parts import PARTS, Arrays, generator, whole
from hsac.errors import InputError
from hsac.parts import nearest, require


def build(
    arrays: Arrays,
    *,
    way: int,
    shot: int,
    query: int,
    train: int,
    validation: int,
    test: int,
    split: str | None = None,
    draw: int = 0,
) -> dict[str, Any]:
    """Draw ``train``, ``validation`` and ``test`` episodes from the classes of each part.

    An episode is ``way`` classes of one part and of each ``shot`` support rows, then ``query``
    others, all different. The parts are the dataset's, unless ``split`` names a JSON file of lists
    of classes (as read, ``arrays`` holds them under split/train, split/validation and split/test):
    then every row of a listed class is in that part, and classes in no list are left out. Returns
    words, counts, shot, query and episodes, int64 (E, way, shot + query) rows of the dataset for
    each part. Raises InputError for a number below 1, a part with fewer classes than ``way``, a
    class with fewer rows than shot + query, or a listed class that the dataset does not have.
    Source: Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016.
    """
    sizes = {"train": train, "validation": validation, "test": test}
    for name, value in {"way": way, "shot": shot, "query": query, **sizes}.items():
        least = 2 if name == "way" else 1
        require(whole(value) and value >= least, name, value, f"an integer from {least}")
    if "label" not in arrays:
        raise InputError("recipe: found a graph; allowed are image sets")
    own = arrays["split"] if split is None else _listed(arrays, split)
    episodes, classes = {}, {}
    for code, part in enumerate(PARTS):
        rows = np.flatnonzero(own == code)
        labels, per_class = np.unique(arrays["label"][rows], return_counts=True)
        require(
            way <= len(labels), "way", way, f"up to {len(labels)}, the classes of the {part} part"
        )
        fewest = int(per_class.min())
        require(
            shot + query <= fewest,
            "shot + query",
            shot + query,
            f"up to {fewest}, the rows of a {part} class",
        )
        seed = int(generator(draw, f"episodes {part}").integers(2**31))
        episodes[part] = _draw(rows, arrays["label"][rows], way, shot + query, sizes[part], seed)
        classes[part] = len(labels)
    listed = "" if split is None else f" (as listed in {split})"
    return {
        "words": (
            f"{way}-way {shot}-shot, {query} queries a class, classes of the parts"
            f" disjoint{listed}: {train} training, {validation} validation and {test} test episodes"
            f" (draw {draw})"
        ),
        "counts": {**sizes, "classes": classes},
        "shot": shot,
        "query": query,
        "episodes": episodes,
    }


def _listed(arrays: Arrays, split: str) -> np.ndarray:
    """Part of each row as the class lists say: 0 train, 1 validation, 2 test, -1 none."""
    names = [str(name) for name in arrays["classes"]]
    part = np.full(len(names), -1)
    for code, word in enumerate(PARTS):
        for name in arrays[f"split/{word}"].tolist():
            if name not in names:
                raise InputError(
                    f"split: found class {name!r} in {split}; of the dataset {nearest(name, names)}"
                )
            part[names.index(name)] = code
    return part[arrays["label"]]


def _draw(
    rows: np.ndarray, labels: np.ndarray, way: int, size: int, episodes: int, seed: int
) -> np.ndarray:
    """Episodes int64 (episodes, way, size) from ``rows`` with ``labels``, by learn2learn's task
    transforms.
    """
    from torch.utils.data import StackDataset

    from hsac._learn2learn import learn2learn

    data = learn2learn().data
    dataset = data.MetaDataset(StackDataset(rows.tolist(), labels.tolist()))
    # without LoadData a task is the places of its rows: loading them one by one doubles the time
    transforms = [data.transforms.NWays(dataset, n=way), data.transforms.KShots(dataset, k=size)]
    tasks = data.Taskset(dataset, task_transforms=transforms, num_tasks=episodes, task_collate=list)
    drawn = np.empty((episodes, way * size), dtype=np.int64)
    with _seeded(seed):
        for i in range(episodes):
            drawn[i] = tasks[i]
    return rows[drawn].reshape(
        episodes, way, size
    )  # KShots leaves the rows of a class side by side


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
