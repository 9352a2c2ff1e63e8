"""Every cell of every shipped scale keeps the hash that it had before the redesign."""

import csv
from pathlib import Path

from hsac import config, plugins

GOLDEN = Path(__file__).parents[1] / "golden" / "cells.csv"


def test_cells_keep_their_hashes():
    found = set()
    for scale in config.SCALES:
        settings = config.load(scale)
        with plugins.using(settings["plugins"]):
            for cell in [*config.cells(settings), *config.trained_cells(settings)]:
                point = "" if cell["point"] is None else str(cell["point"])
                found.add((scale, cell["experiment"], cell["method"], point, cell["hash"]))
    with open(GOLDEN, newline="") as stream:
        assert found == {tuple(row) for row in csv.reader(stream)} - {tuple(HEAD)}


HEAD = ("scale", "experiment", "method", "point", "hash")
