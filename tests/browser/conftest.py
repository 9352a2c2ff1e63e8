"""A page of synthetic results."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "report"))
from synthetic_records import ORDER, REFERENCES, synthetic_results

from hsac.report.claims import write_claims
from hsac.report.cost import write_cost
from hsac.report.figures import write_figures
from hsac.report.page import write_page
from hsac.report.pictures import write_picture
from hsac.report.published import write_published
from hsac.report.tables import write_tables
from hsac.report.theory import write_theory_tables

HEADING = "Test accuracy (%), validation-selected"
CELL = {
    "experiment": "digits",
    "method": "sgd+hsac",
    "folder": "runs/digits/sgd+hsac/abc",
    "config": "abc",
    "code": ["c0de"],
    "variant": ["fa11"],
    "variant_file": "data/variants/digits/plain.json",
    "made_from": [],
    "indexes": {},
    "runs": [[seed, f"seed{seed}.json", "ok", "5ea1" * 16, 0] for seed in range(4)],
    "configuration": {"model": 0},
}
COLUMN = {"field": "a field", "how": "mean over seeds", "function": "f"}
COLUMN |= {"uses": ["own"], "finished": True}
BEHIND = {
    "tables": {
        "digits": {
            "key": ["method"],
            "headings": {HEADING: "test_accuracy_percent"},
            "columns": {"test_accuracy_percent": 0},
            "rows": {"sgd+hsac": {"own": 0}},
        }
    },
    "columns": [COLUMN],
    "lists": [["digits/sgd+hsac"]],
    "cells": {"digits/sgd+hsac": CELL},
    "parts": [{"name": "mlp"}],
    "environments": [{"torch": "2"}],
    "files": {},
}
CLAIMS = Path(__file__).parents[2] / "config" / "claims.yaml"


@pytest.fixture(scope="session")
def page(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of synthetic results of two experiments with four seeds each."""
    experiments = ("digits", "glyphs_long_tailed")
    root = synthetic_results(tmp_path_factory.mktemp("my scale"), experiments, seeds=4)
    order = {name: ORDER[name] for name in experiments}
    runs = root / "runs.parquet"
    write_claims(CLAIMS, runs, root / "claims.json")
    write_figures(runs, root / "trajectories.parquet", "", order, REFERENCES, root / "figures")
    write_tables(runs, order, REFERENCES, root / "tables")
    write_theory_tables(runs, order, root / "tables")
    write_published(CLAIMS.with_name("published.yaml"), runs, root / "tables")
    write_cost(runs, root / "measured.parquet", order, root / "cost")
    write_picture("digits", data_folder, root / "data" / "digits.png")
    write_page(root, ["digits"], {}, BEHIND, root / "index.html")
    return root / "index.html"
