"""Where everything lies. The workflow and the command line take their paths from here."""

import os
from itertools import groupby
from pathlib import Path
from typing import Any

from hsac import config
from hsac.data import variants
from hsac.errors import InputError


def data_root() -> Path:
    """Where data lands: `HSAC_DATA`, else `data`."""
    return Path(os.environ.get("HSAC_DATA", "data"))


def results_root(scale: str) -> Path:
    """The results folder of a scale."""
    return Path("results") / scale


def check_writable(folder: Path) -> None:
    """Raises InputError naming the folder when nothing can be written there."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(
            f"{folder}: found a file at {there}; allowed is a folder that can be written"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"{folder}: {there} cannot be written; allowed is a folder that can be written"
        )


def manifest_path(dataset: str) -> Path:
    """The manifest that a fetched dataset ends with."""
    return data_root() / "raw" / dataset / "manifest.json"


def variant_path(experiment: dict[str, Any]) -> Path:
    """The variant file of an experiment."""
    return (
        data_root() / "variants" / experiment["dataset"] / f"{config.variant_id(experiment)}.json"
    )


def variant_inputs(experiment: dict[str, Any]) -> list[Path]:
    """What a variant is made of: its dataset, the labels that it takes and the file of its class
    split.
    """
    datasets, files = variants.inputs(experiment["variant"])
    return [manifest_path(dataset) for dataset in (experiment["dataset"], *datasets)] + files


def datasets(settings: dict[str, Any]) -> list[str]:
    """The datasets of the experiments and the labels that their variants take, each once."""
    experiments = settings["experiments"].values()
    return list(
        dict.fromkeys(
            name for e in experiments for name in (e["dataset"], *variants.inputs(e["variant"])[0])
        )
    )


def picture_path(results: Path, dataset: str) -> Path:
    """The picture of a dataset; the same as .pdf and its caption as .json lie beside it."""
    return results / "data" / f"{dataset}.png"


def blocks(seeds: list[int], size: int) -> dict[int, list[int]]:
    """Seeds of each bundle, by seed // size: adding a seed leaves the other bundles as they are."""
    return {
        block: list(group) for block, group in groupby(sorted(seeds), lambda seed: seed // size)
    }


def index_path(results: Path, cell: dict[str, Any], block: int) -> Path:
    """The index of a bundle; the folder is named by the cell's configuration, so a changed cell is
    a new folder.
    """
    return (
        results / "runs" / cell["experiment"] / cell["method"] / cell["hash"] / f"block{block}.json"
    )


def point_path(results: Path, cell: dict[str, Any]) -> Path:
    """What the search of a searched cell came to."""
    return index_path(results, cell, 0).with_name("point.json")


def point_bundles(
    settings: dict[str, Any], results: Path, cell: dict[str, Any]
) -> dict[Path, tuple[list[dict[str, Any]], list[int]]]:
    """Index -> points' cells and seeds of every bundle that a searched cell's search is; {} for
    another cell.

    A bundle has as many points as make `bundle` runs, but at least one; of points that came out
    alike, the first. Seeds are those of a block, so whatever the points beside it, a point's seeds
    train together as they would alone.
    """
    alike = {point["hash"]: point for point in reversed(config.point_cells(settings, cell))}
    points = sorted(alike.values(), key=lambda point: point["point"])
    found: dict[Path, tuple[list[dict[str, Any]], list[int]]] = {}
    for seeds in (
        blocks(config.cell_seeds(settings, points[0]), settings["bundle"]).values()
        if points
        else ()
    ):
        size = max(1, settings["bundle"] // len(seeds))
        for start in range(0, len(points), size):
            index = point_path(results, cell).with_name(f"points{len(found)}.json")
            found[index] = (points[start : start + size], seeds)
    return found


def bundles(
    settings: dict[str, Any], results: Path, cells: list[dict[str, Any]]
) -> dict[Path, dict[str, Any]]:
    """Index and cell of every bundle of the cells, none of which is a point of a search."""
    return {
        index_path(results, cell, block): cell
        for cell in cells
        for block in blocks(config.cell_seeds(settings, cell), settings["bundle"])
    }


def indexes(settings: dict[str, Any], results: Path, cells: list[dict[str, Any]]) -> list[Path]:
    """The indexes of all bundles of the cells."""
    return list(bundles(settings, results, cells))


def study_path(results: Path, study: str) -> Path:
    """The rows of a study."""
    return results / "theory" / f"{study}.csv"


def landscape_path(results: Path, experiment: str) -> Path:
    """What was measured of an experiment's trained networks."""
    return results / "theory" / "landscape" / f"{experiment}.csv"


def informed_path(results: Path, experiment: str) -> Path:
    """The certificates of an experiment's methods with a prior trained on a part of the examples."""
    return results / "theory" / "informed" / f"{experiment}.csv"


def hypergradient_path(results: Path, experiment: str) -> Path:
    """Bias and noise of the hypergradient along a training of an experiment."""
    return results / "theory" / "hypergradient" / f"{experiment}.csv"


def theory_paths(settings: dict[str, Any], results: Path) -> list[Path]:
    """Every file of the theory: certificates with an informed prior, hypergradients, studies,
    measured networks.
    """
    experiments = settings["experiments"]
    return [
        *(
            informed_path(results, name)
            for name, experiment in experiments.items()
            if "informed" in experiment
        ),
        *(
            hypergradient_path(results, name)
            for name, one in experiments.items()
            if "hypergradient" in one
        ),
        *(study_path(results, study) for study in settings["theory"]["studies"]),
        *(
            landscape_path(results, name)
            for name in experiments
            if config.measured_cells(settings, name)
        ),
    ]
