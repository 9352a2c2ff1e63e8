"""Synthetic results shared by the report's tests."""

import json
from pathlib import Path

import matplotlib
import pytest
from synthetic_records import synthetic_results

matplotlib.use("Agg")


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic results of two experiments with four seeds each."""
    return synthetic_results(
        tmp_path_factory.mktemp("results"), ("digits", "glyphs_long_tailed"), seeds=4
    )


@pytest.fixture(scope="session")
def variant_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic variant file that the synthetic records' variant_hash names."""
    content = {
        "schema": 1,
        "dataset": "digits",
        "name": "plain",
        "recipe": {},
        "words": "All rows, split once.",
        "counts": {"train": 7, "validation": 2, "test": 2},
        "data_sha256": "f" * 64,
        "indices": {},
        "hash": "e" * 16,
    }
    path = tmp_path_factory.mktemp("variants") / "plain.json"
    path.write_text(json.dumps(content))
    return path
