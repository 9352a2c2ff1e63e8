"""One line for each mistake in a command line: where it is, what was found, what is allowed."""

import click

from hsac.cli.command import Command


def explain(error: click.UsageError) -> str:
    """Say what is wrong with a command line.

    Args:
        error: What click found.

    Returns:
        One line: the option, argument or command, what was found and what is allowed.
    """
    match error:
        case click.NoSuchOption():
            return _unknown_option(error)
        case click.exceptions.NoSuchCommand():
            return _unknown_command(error)
        case click.BadOptionUsage():
            return _misused_option(error)
        # Before BadParameter, of which it is one.
        case click.MissingParameter():
            return _missing(error.param, error.ctx)
        case click.BadParameter():
            return f"{_name(error.param)}: {error.message}"
    return error.format_message()


def _unknown_option(error: click.NoSuchOption) -> str:
    # parts is slow to import: only who makes a mistake waits for it
    from hsac.parts import nearest

    assert error.ctx is not None
    known = [flag for one in error.ctx.command.get_params(error.ctx) for flag in _flags(one)]
    return f"{error.option_name}: found an unknown option; {nearest(error.option_name, known)}"


def _unknown_command(error: click.exceptions.NoSuchCommand) -> str:
    from hsac.parts import nearest

    assert error.ctx is not None
    group = error.ctx.command
    assert isinstance(group, click.Group)
    name, path = error.command_name, error.ctx.command_path
    # The workflow's commands are often looked for at the top.
    for inner in group.commands.values():
        if isinstance(inner, click.Group) and name in inner.commands:
            return f"{name}: found no such command of `{path}`; it is `{path} {inner.name} {name}`"
    return f"{name}: found no such command of `{path}`; {nearest(name, group.commands)}"


def _misused_option(error: click.BadOptionUsage) -> str:
    for parameter in error.ctx.command.params if error.ctx else []:
        if error.option_name not in parameter.opts:
            continue
        if isinstance(parameter, click.Option) and parameter.is_flag:
            return f"{error.option_name}: found a value; allowed is the option alone"
        return _missing(parameter, error.ctx)
    return f"{error.option_name}: {error.message}"


def _missing(parameter: click.Parameter | None, ctx: click.Context | None) -> str:
    command = ctx.command if ctx else None
    about = command.about if isinstance(command, Command) else {}
    text = about.get(parameter.name or "", "") if parameter else ""
    allowed = f"{text[0].lower()}{text[1:].rstrip('.')}" if text else "a value"
    return f"{_name(parameter)}: found nothing; allowed is {allowed}"


def _flags(parameter: click.Parameter) -> list[str]:
    return parameter.opts if isinstance(parameter, click.Option) else []


def _name(parameter: click.Parameter | None) -> str:
    if parameter is None:
        return "arguments"
    flags = _flags(parameter)
    return max(flags, key=len) if flags else parameter.human_readable_name
