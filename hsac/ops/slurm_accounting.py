"""Whether Slurm tells how its jobs end."""

import subprocess

from hsac.errors import InputError


def check(status_command: str | None) -> None:
    """Raise InputError where jobs are asked after by `sacct` on a site without accounting: the
    executor would wait for them for ever.
    """
    if status_command != "sacct":
        return
    done = subprocess.run(["sacct", "--allocations", "--noheader"], capture_output=True, text=True)
    said = " ".join((done.stdout + done.stderr).split())
    if "storage is disabled" in said:
        raise InputError(
            f"slurm-status-command: found sacct, which says {said!r}; allowed here is squeue, in"
            " your profile (docs/cluster.md)"
        )
