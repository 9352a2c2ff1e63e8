"""A folder with the quick datasets fetched, a web server, and a catalogue of one dataset."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import Served, serve

from hsac.data import catalogue, download, fetch
from hsac.data.catalogue import Entry


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("digits", "disease"):
        fetch(name, folder)
    return folder


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    for name in ("HF_HUB_OFFLINE", "HSAC_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "CHUNK", 100)
    with serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch):
    def install(entry: Entry) -> Entry:
        monkeypatch.setattr(catalogue, "_entries", lambda: {entry.name: entry})
        return entry

    return install
