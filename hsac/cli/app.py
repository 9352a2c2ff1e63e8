"""The command `hsac` put together, and its one exit: statuses and error lines."""

import codecs
import io
import sys

import click

from hsac import memory
from hsac.cli import data, jobs, user
from hsac.cli.usage import explain
from hsac.errors import InputError

INTERRUPTED = 130  # as a shell reports a process that Ctrl-C ended

hsac = user.hsac
hsac.add_command(data.data)
hsac.add_command(jobs.job)


def main(arguments: list[str] | None = None) -> int:
    """Run a command of `hsac`.

    Args:
        arguments: The words after `hsac`. None takes those of this process.

    Returns:
        The exit status: 0, what the command says, 2 with one line on standard error for anything
        that the user can fix, or 130 after Ctrl-C.
    """
    _print_everything()
    memory.keep_freed_memory()
    try:
        # In standalone mode click would print errors in its own words and exit.
        status = hsac.main(arguments, prog_name="hsac", standalone_mode=False)
    # Caught before UsageError, of which it is one: to ask for nothing is no mistake to explain.
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    except click.UsageError as error:
        return _fail(_one_line(explain(error)))
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        where = error.filename or type(error).__name__
        return _fail(_one_line(f"{where}: {error.strerror or error}"))
    except click.Abort:
        return INTERRUPTED
    return status or 0


def _print_everything() -> None:
    """Print what the locale's encoding lacks, too: help texts and tables hold θ and ≥."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):  # closed, or a test's
            continue
        # Python itself takes UTF-8 in the locale C, unless it is told not to.
        ascii_only = codecs.lookup(stream.encoding).name == "ascii"
        encoding = "utf-8" if ascii_only else stream.encoding
        stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _one_line(text: str) -> str:
    """Escape the line ends of what was typed."""
    return text if text.isprintable() else repr(text)[1:-1]


def _fail(lines: str) -> int:
    for line in lines.splitlines():
        print(f"hsac: {line}", file=sys.stderr)
    return 2
