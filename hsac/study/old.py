"""Dicts for callers that are not typed yet; this file goes with the last of them."""

from typing import Any

from hsac.study.cell import Cell
from hsac.study.models import Study


def settings(study: Study) -> dict[str, Any]:
    """Return a study as the dict that it was."""
    return study.dump()


def cell(one: Cell) -> dict[str, Any]:
    """Return a cell as the dict that it was."""
    return {
        "experiment": one.experiment,
        "method": one.method,
        "config": one.config.dump(),
        "hash": one.hash,
        "point": one.point,
    }
