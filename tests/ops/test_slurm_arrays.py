"""The command of an array's task, from what the executor plugin hands to all of them."""

import base64
import json
import zlib

import pytest

from hsac.ops.slurm_arrays import OPTION, become_own_call, own_call

CALLS = {str(i): f"python -m snakemake --target-jobs 'train:block={i}'" for i in (2, 3)}
PAYLOAD = base64.b64encode(
    json.dumps(
        {i: zlib.compress(call.encode(), level=9).hex() for i, call in CALLS.items()}
    ).encode()
).decode()


def task(index: int) -> dict[str, str]:
    return {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_TASK_MIN": "1"}


@pytest.mark.parametrize("given", [[f"{OPTION}={PAYLOAD}"], [OPTION, PAYLOAD]])
def test_each_task_has_its_own_command(given) -> None:
    assert [own_call(["snakemake", *given], task(i)) for i in (1, 2, 3)] == [
        None,
        CALLS["2"],
        CALLS["3"],
    ]


def test_job_outside_arrays_keeps_arguments() -> None:
    assert own_call(["snakemake", "--cores", "1"], {}) is None
    assert own_call(["snakemake", f"{OPTION}={PAYLOAD}"], {}) is None
    assert own_call(["snakemake"], task(2)) is None


@pytest.mark.parametrize("index", [1, 2])
def test_process_becomes_its_own_call(index, monkeypatch) -> None:
    """The first task goes on as it was started."""
    calls = []
    monkeypatch.setattr("os.execlp", lambda *words: calls.append(words))
    become_own_call(["snakemake", OPTION, PAYLOAD], task(index))
    assert calls == ([] if index == 1 else [("sh", "sh", "-c", CALLS["2"])])
