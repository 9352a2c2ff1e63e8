"""Fixtures shared by all tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hsac.data import fetch
from hsac.memory import keep_freed_memory

# as the command line does, since much of what tests do is training
keep_freed_memory()


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """A data folder with the small embedded datasets."""
    root = tmp_path_factory.mktemp("data")
    for name in ("digits", "disease"):
        fetch(name, root)
    return root


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The mirror with real data that HSAC_MIRROR names."""
    found = os.environ.get("HSAC_MIRROR")
    if not found:
        pytest.skip("no mirror of real data: HSAC_MIRROR is not set")
    return Path(found).resolve()


@pytest.fixture(scope="session")
def real_data(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what fetches a mirrored dataset and returns the data folder that it then is in.

    All workers share one folder, and fetching holds a lock, so that what takes long to decode is
    decoded once.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "real"

    def fetched(name: str) -> Path:
        fetch(name, root, mirror)
        return root

    return fetched
