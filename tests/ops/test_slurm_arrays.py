"""The command of an array's task, from what the executor plugin hands to all of them."""

import base64
import json
import zlib

import pytest

from hsac.ops.slurm_arrays import OPTION, own_call

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


def test_a_job_outside_of_an_array_keeps_its_arguments() -> None:
    assert own_call(["snakemake", "--cores", "1"], {}) is None
    assert own_call(["snakemake", f"{OPTION}={PAYLOAD}"], {}) is None
    assert own_call(["snakemake"], task(2)) is None
