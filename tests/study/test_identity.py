"""Every cell of every shipped scale keeps the hash that tests/golden/cells.csv records."""

import csv
from pathlib import Path

from hsac import plugins
from hsac.study import load, resolve

GOLDEN = Path(__file__).parents[1] / "golden" / "cells.csv"
HEAD = ("scale", "experiment", "method", "point", "hash")


def test_cells_keep_their_hashes():
    found = set()
    for scale in load.SCALES:
        study = load.load(scale)
        with plugins.using(study.plugins):
            for cell in [*resolve.cells(study), *resolve.trained(study)]:
                point = "" if cell.point is None else str(cell.point)
                found.add((scale, cell.experiment, cell.method, point, cell.hash))
    with open(GOLDEN, newline="") as stream:
        assert found == {tuple(row) for row in csv.reader(stream)} - {HEAD}
