"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

from hsac.data import fetch


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """A data folder with the small embedded datasets."""
    root = tmp_path_factory.mktemp("data")
    for name in ("digits", "disease"):
        fetch(name, root)
    return root


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The mirror with real data: HSAC_MIRROR, else ../shared/mirror beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "mirror"
    found = Path(os.environ.get("HSAC_MIRROR") or beside)
    if not found.is_dir():
        pytest.skip(f"no mirror of real data: HSAC_MIRROR is not set and there is no {beside}")
    return found
