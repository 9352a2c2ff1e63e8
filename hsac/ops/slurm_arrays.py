"""Slurm job arrays: each task judges its own job.

The executor plugin (snakemake-executor-plugin-slurm 2.8, its issue 447) starts every task of an
array as the first task's job, which then runs the task's own inside. So a task that ends before the
first one counts as failed, because the first one's output is missing, and a task that fails removes
that output.
"""

import base64
import itertools
import json
import os
import zlib
from collections.abc import Mapping, Sequence

OPTION = "--slurm-jobstep-array-execs"


def own_call(arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Find the command of an array's task among those of all its tasks.

    Args:
        arguments: The words that the process was started with.
        environment: Its environment.

    Returns:
        The task's shell command. None outside of arrays and in the first task, whose arguments are
        its own.
    """
    index = environment.get("SLURM_ARRAY_TASK_ID")
    # The option comes as `--option=value` or as two words.
    given = [text.removeprefix(f"{OPTION}=") for text in arguments if text.startswith(f"{OPTION}=")]
    given += [after for text, after in itertools.pairwise(arguments) if text == OPTION]
    if index is None or index == environment.get("SLURM_ARRAY_TASK_MIN") or not given:
        return None
    # As the plugin packs them: JSON in base64, of each task the compressed command in hexadecimal.
    calls = json.loads(base64.b64decode(given[0]))
    return zlib.decompress(bytes.fromhex(calls[index])).decode()


def become_own_call(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Replace the process by the task's own command, where it has one.

    Args:
        arguments: The words that the process was started with.
        environment: Its environment.
    """
    command = own_call(arguments, environment)
    if command:
        # The process itself is replaced, so that Slurm sees how the task's own job ended.
        os.execlp("sh", "sh", "-c", command)
