"""Few-shot episodes, drawn once and shared by every method and seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from hsac.data.variants._parts import (
    PARTS,
    Arrays,
    VariantContent,
    class_words,
    generator,
    is_integer,
)
from hsac.errors import InputError
from hsac.parts import nearest, require


def build(  # noqa: PLR0913 - each parameter is a key of a configuration
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
) -> VariantContent:
    """Draw episodes from the classes of each part.

    An episode is ``way`` classes of one part and of each ``shot`` support rows, then ``query``
    others, all different. Source: Vinyals et al., Matching Networks for One Shot Learning, NeurIPS
    2016.

    Args:
        arrays: The dataset's arrays. With ``split`` also its lists of classes, under split/train,
            split/validation and split/test.
        way: Classes of an episode, at least 2.
        shot: Support rows of a class.
        query: Query rows of a class.
        train: Number of training episodes.
        validation: Number of validation episodes.
        test: Number of test episodes.
        split: A JSON file of lists of classes. Every row of a listed class is then in that part,
            and classes in no list are left out. None takes the parts of the dataset.
        draw: Number of the draw.

    Returns:
        Words, counts, shot, query and episodes.

    Raises:
        InputError: For a number below 1, a part with fewer classes than ``way``, a class with fewer
            rows than shot + query, or a listed class that the dataset does not have.
    """
    sizes = {"train": train, "validation": validation, "test": test}
    for name, value in {"way": way, "shot": shot, "query": query, **sizes}.items():
        least = 2 if name == "way" else 1
        require(is_integer(value) and value >= least, name, value, f"an integer from {least}")
    if "label" not in arrays:
        raise InputError("recipe: found a graph; allowed are image sets")
    own = arrays["split"] if split is None else _listed_parts(arrays, split)
    episodes, classes = {}, {}
    for code, part in enumerate(PARTS):
        rows = np.flatnonzero(own == code)
        labels = arrays["label"][rows]
        classes[part] = _check_part(arrays, part, labels, way, shot + query)
        # A stream a part: more training episodes leave the test episodes as they are.
        # numpy's global generator takes seeds of 32 bits at most.
        seed = int(generator(draw, f"episodes {part}").integers(2**31))
        episodes[part] = _draw(rows, labels, way, shot + query, sizes[part], seed)
    listed = "" if split is None else f" (as listed in {split})"
    numbers = f"{train} training, {validation} validation and {test} test episodes"
    return VariantContent(
        words=(
            f"{way}-way {shot}-shot, {query} queries a class, classes of the parts"
            f" disjoint{listed}: {numbers} (draw {draw})"
        ),
        counts={**sizes, "classes": classes},
        episodes=episodes,
        shot=shot,
        query=query,
    )


def _check_part(arrays: Arrays, part: str, labels: np.ndarray, way: int, size: int) -> int:
    """Return the number of a part's classes, which must do for an episode."""
    classes, per_class = np.unique(labels, return_counts=True)
    allowed = f"up to {len(classes)}, the classes of the {part} part"
    require(way <= len(classes), "way", way, allowed)
    fewest, smallest = int(per_class.min()), classes[per_class.argmin()]
    words = f"{part} {class_words(arrays, smallest)}"
    require(size <= fewest, "shot + query", size, f"up to {fewest}, the rows of {words}")
    return len(classes)


def _listed_parts(arrays: Arrays, split: str) -> np.ndarray:
    """Return the part of each row as the lists say: 0 train, 1 validation, 2 test, -1 none."""
    names = [str(name) for name in arrays["classes"]]
    part = np.full(len(names), -1)
    for code, word in enumerate(PARTS):
        for name in arrays[f"split/{word}"].tolist():
            if name not in names:
                raise InputError(
                    f"split: found class {name!r} in {split}; of the dataset {nearest(name, names)}"
                )
            # Lists may leave classes out, unlike the split of a dataset.
            part[names.index(name)] = code
    return part[arrays["label"]]


def _draw(
    rows: np.ndarray, labels: np.ndarray, way: int, size: int, episodes: int, seed: int
) -> np.ndarray:
    """Draw episodes int64 (episodes, way, size) from labelled rows, by learn2learn."""
    from torch.utils.data import StackDataset

    from hsac._learn2learn import learn2learn

    data = learn2learn().data
    dataset = data.MetaDataset(StackDataset(rows.tolist(), labels.tolist()))
    # Without LoadData a task is the places of its rows: loading them one by one doubles the time.
    transforms = [data.transforms.NWays(dataset, n=way), data.transforms.KShots(dataset, k=size)]
    tasks = data.Taskset(dataset, task_transforms=transforms, num_tasks=episodes, task_collate=list)
    drawn = np.empty((episodes, way * size), dtype=np.int64)
    with _seeded(seed):
        for i in range(episodes):
            drawn[i] = tasks[i]
    # KShots leaves the rows of a class side by side.
    return rows[drawn].reshape(episodes, way, size)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that learn2learn may draw from, and put them back after."""
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    # Not torch.manual_seed, which seeds GPUs as well, and these are not put back.
    torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
