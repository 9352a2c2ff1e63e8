"""Commands whose help is the docstring of their function, and option types of `hsac`."""

import inspect
import json
import re
import shlex
from collections.abc import Iterable
from typing import Any

import click

SECTIONS = ("Args", "Returns", "Raises", "Examples")


def sections(docstring: str) -> dict[str, str]:
    """Split a Google-style docstring at its sections.

    Args:
        docstring: The text, as it stands in the source.

    Returns:
        The text of each section without its indentation. The key "" has what stands before the
        first one.
    """
    heading = rf"^({'|'.join(SECTIONS)}):\n"
    first, *rest = re.split(heading, inspect.cleandoc(docstring), flags=re.MULTILINE)
    # Splitting at a group gives headings and texts in turn.
    bodies = dict(zip(rest[::2], map(inspect.cleandoc, rest[1::2]), strict=True))
    return {"": first.strip(), **bodies}


def described(arguments: str) -> dict[str, str]:
    """Read the section `Args` of a docstring.

    Args:
        arguments: The section's text.

    Returns:
        What it says of each parameter, in one line.
    """
    entries = re.findall(r"^(\w+): (.*(?:\n +.*)*)", arguments, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def spread(arguments: Iterable[str], options: Iterable[str]) -> list[str]:
    """Repeat an option before each of its values, as click reads it.

    Args:
        arguments: Words of a command line, such as `--seeds 0 1`.
        options: The options that take several values.

    Returns:
        The words with one value after each such option: `--seeds 0 --seeds 1`. An option without
        a value has the empty one.
    """
    said: list[str] = []
    option, values = "", 0  # the option that takes the next words, and how many it has taken
    # The last word only ends the option before it, and is cut off again below.
    for word in [*arguments, "--"]:
        if option and not word.startswith("-"):
            said += [option, word]
            values += 1
            continue
        if option and not values:
            said += [option, ""]
        option, values = (word if word in options else ""), 0
        if not option:
            said.append(word)
    return said[:-1]


class Several(click.Option):
    """An option that takes all words up to the next option: `--seeds 0 1 2`."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """Pass everything on to click.

        Args:
            arguments: As `click.Option` takes them.
            settings: As `click.Option` takes them.
        """
        super().__init__(*arguments, **{**settings, "multiple": True})

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Drop the empty value that stands for none, then convert the others.

        Args:
            ctx: The context of the command.
            value: The words given.

        Returns:
            The converted values.
        """
        given = [one for one in value if one] if isinstance(value, list | tuple) else value
        return super().type_cast_value(ctx, given)


class Command(click.Command):
    """A command that takes its help from its function's docstring.

    The first paragraphs and the section `Returns` are the text, `Args` describes the parameters,
    `Examples` comes last.
    """

    def __init__(self, name: str | None, help: str | None = None, **settings: Any) -> None:
        """Read the docstring.

        Args:
            name: The command's name.
            help: The docstring of its function.
            settings: As `click.Command` takes them.
        """
        parts = sections(help or "")
        # click keeps the line breaks of a paragraph that begins with this mark.
        examples = f"\b\nExamples:\n{_indented(parts['Examples'])}" if "Examples" in parts else None
        text = "\n\n".join(filter(None, [parts[""], parts.get("Returns")]))
        super().__init__(name, help=text, epilog=examples, **settings)
        self.allow_extra_args = True  # `parse_args` refuses them in words of its own
        self.about = described(parts.get("Args", ""))
        for parameter in self.params:
            if isinstance(parameter, click.Option):
                parameter.help = parameter.help or self.about.get(parameter.name or "")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words after the command's name.

        Args:
            ctx: The context of the command.
            args: The words.

        Returns:
            Nothing that is left.

        Raises:
            click.UsageError: A word is no option and more than the command takes.
        """
        several = [flag for one in self.params if isinstance(one, Several) for flag in one.opts]
        try:
            left = super().parse_args(ctx, spread(args, several))
        except click.UsageError as error:
            # click leaves it out of some errors, and `usage.explain` reads it
            error.ctx = ctx
            raise
        if not left:
            return left
        text = f"{' '.join(left)}: found more arguments than `{ctx.command_path}` takes"
        if any(one.name == "scale" for one in self.params):
            text += f"; a scale is named by --scale {shlex.quote(left[0])}"
        raise click.UsageError(text, ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the positional arguments are, too.

        Args:
            ctx: The context of the command.
            formatter: Where to write.
        """
        arguments = [one for one in self.params if isinstance(one, click.Argument)]
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(
                    [
                        (one.human_readable_name, self.about.get(one.name or "", ""))
                        for one in arguments
                    ]
                )
        super().format_options(ctx, formatter)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


class JsonObject(click.ParamType):
    """A JSON object, as a dict."""

    name = "JSON"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Parse a word.

        Args:
            value: The word, or a dict that is taken as it is.
            param: The parameter it is for.
            ctx: The context of the command.

        Returns:
            The object.
        """
        # Loads what reads YAML, which `hsac --help` needs not.
        from hsac.documents import parse_json

        try:
            found = parse_json(value) if isinstance(value, str) else value
        except json.JSONDecodeError:
            found = None
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not isinstance(found, dict):
            self.fail(f"found {value!r}; allowed is a JSON object", param, ctx)
        return found


class WholeNumber(click.ParamType):
    """An integer."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse a word.

        Args:
            value: The word, or an integer.
            param: The parameter it is for.
            ctx: The context of the command.

        Returns:
            The integer.
        """
        try:
            return int(value)
        except ValueError:
            self.fail(f"found {value!r}; allowed is a whole number", param, ctx)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
