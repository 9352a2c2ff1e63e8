"""The records that `benchmarks/size.py` generates are such as runs leave."""

import json
from pathlib import Path

from benchmarks import size
from hsac.report.gather import check_record, run_row
from hsac.study import load, resolve


def test_generated_record_is_a_runs():
    """It is such as a run with ten thousand test items leaves."""
    study = load.load("paper", size.WITHOUT_SEARCH)
    for cell in (
        resolve.cell(study, "cifar10", "sgd+hsac"),
        resolve.cell(study, "cub_way5_shot1", "sam+euclidean"),
    ):
        record = size.record(cell, 3)
        check_record(record, Path("seed3.json"))
        assert run_row(record, "seed3.json")["method"] == cell.method
        assert 25_000 < len(json.dumps(record, separators=(",", ":"))) < 35_000
