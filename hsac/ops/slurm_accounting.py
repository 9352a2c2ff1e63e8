"""A check that Slurm tells how its jobs end."""

import subprocess

from hsac.errors import InputError


def check(status_command: str | None) -> None:
    """Refuse to ask `sacct` for jobs on a site without accounting.

    The executor would wait for them for ever.

    Args:
        status_command: The command that asks what became of jobs. None without Slurm.

    Raises:
        InputError: It is `sacct`, and accounting is disabled here.
    """
    if status_command != "sacct":
        return
    command = ["sacct", "--allocations", "--noheader"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    said = " ".join((done.stdout + done.stderr).split())
    # Whatever else `sacct` says may pass, as when the controller is down. Then the executor's
    # waiting is right.
    if "storage is disabled" in said:
        raise InputError(
            f"slurm-status-command: found sacct, which says {said!r}; allowed here is squeue, in"
            " your profile (docs/cluster.md)"
        )
