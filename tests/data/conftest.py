"""A folder with the quick datasets fetched, and the few-shot set made once."""

from pathlib import Path

import pytest

from hsac.data import fetch


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("digits", "disease"):
        fetch(name, folder)
    return folder
