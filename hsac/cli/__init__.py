"""The command `hsac`: commands for people at the top, those of the workflow under `hsac job`."""

from hsac.cli.app import main

__all__ = ["main"]
