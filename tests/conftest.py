"""Fixtures shared by all tests."""

import pytest

from hsac.data import fetch


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """A data folder with the small embedded datasets."""
    root = tmp_path_factory.mktemp("data")
    for name in ("digits", "disease"):
        fetch(name, root)
    return root
