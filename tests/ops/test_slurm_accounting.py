"""A Slurm without accounting is refused before anything is submitted."""

import pytest

from hsac.errors import InputError
from hsac.ops import slurm_accounting


@pytest.fixture
def sacct(tmp_path, monkeypatch):
    """A `sacct` that says what it is given."""

    def put(said: str) -> None:
        program = tmp_path / "sacct"
        program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return put


def test_disabled_accounting_is_one_line(sacct) -> None:
    """It says what to set instead."""
    sacct("Slurm accounting storage is disabled")
    with pytest.raises(
        InputError, match=r"^slurm-status-command: found sacct.*allowed here is squeue"
    ) as caught:
        slurm_accounting.check("sacct")
    assert "\n" not in str(caught.value)
    slurm_accounting.check("squeue")
    slurm_accounting.check(None)


def test_answering_accounting_is_fine(sacct) -> None:
    sacct("")
    slurm_accounting.check("sacct")
