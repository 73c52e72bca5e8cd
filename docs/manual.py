"""Write the manual pages and completions that the wheel and the Debian package bring, from the commands."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from quiesce.cli.main import quiesce
from quiesce.errors import ExitStatus

SHARE = Path(__file__).parents[1] / "share"
MANUAL = SHARE / "man" / "man1"
#: where each shell looks for what a package brings
COMPLETIONS = {
    "bash": SHARE / "bash-completion" / "completions" / "quiesce",
    "zsh": SHARE / "zsh" / "site-functions" / "_quiesce",
    "fish": SHARE / "fish" / "vendor_completions.d" / "quiesce.fish",
}
_ENVIRONMENT = {
    "QUIESCE_HOME": "where state is kept; default ~/.local/share/quiesce",
    "QUIESCE_DATABASE": "the URL of another database than quiesce.db there",
    "QUIESCE_REPOSITORY": "the path or URL of another default repository than the one there",
    "QUIESCE_SECRET_<NAME>": "the value of a secret, before secrets.yaml in QUIESCE_HOME",
}


def pages() -> dict[Path, str]:
    """Return every file as it should be."""
    commands = _commands(quiesce)
    found = {MANUAL / "quiesce.1": _overview(commands)}
    for name, command in commands.items():
        found[MANUAL / f"quiesce-{name}.1"] = _page(name, command)
    for shell, path in COMPLETIONS.items():
        if completion := get_completion_class(shell):
            found[path] = completion(quiesce, {}, "quiesce", "_QUIESCE_COMPLETE").source().strip() + "\n"
    return found


def _commands(group: click.Group) -> dict[str, click.Command]:
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def _overview(commands: dict[str, click.Command]) -> str:
    lines = [
        *_head("quiesce", "suspend, resume, back up and restore whole deployments"),
        *_section("SYNOPSIS", [".B quiesce", r"\fICOMMAND\fR [\fIOPTION\fR...] [\fIARGUMENT\fR...]"]),
        *_section("DESCRIPTION", _prose(quiesce.help or "")),
        ".SH COMMANDS",
    ]
    for name, command in commands.items():
        lines += [".TP", rf"\fBquiesce\-{_plain(name)}\fR(1)", *_prose(_summary(command))]
    lines += _section("ENVIRONMENT", [line for item in _ENVIRONMENT.items() for line in _item(*item)])
    statuses = [_item(str(int(status)), _words(status.name)) for status in ExitStatus]
    lines += _section("EXIT STATUS", [line for item in statuses for line in item])
    return "\n".join(lines) + "\n"


def _page(name: str, command: click.Command) -> str:
    lines = _head(f"quiesce-{name}", _summary(command))
    if isinstance(command, click.Group):
        lines += [*_section("SYNOPSIS", [rf"\fBquiesce {_plain(name)}\fR \fICOMMAND\fR ..."])]
        lines += _section("DESCRIPTION", _prose(command.help or ""))
        for child, found in _commands(command).items():
            lines += [f".SH {_plain(child).upper()}", *_command(f"{name} {child}", found)]
    else:
        lines += [".SH DESCRIPTION", *_command(name, command)]
    lines += _section("SEE ALSO", [r"\fBquiesce\fR(1)"])
    return "\n".join(lines) + "\n"


def _command(path: str, command: click.Command) -> Iterator[str]:
    shown = [_argument(each) for each in command.params if isinstance(each, click.Argument)]
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    yield ".PP"
    yield " ".join([rf"\fBquiesce {_plain(path)}\fR", *(["[OPTION...]"] if options else []), *shown])
    yield ".PP"
    yield from _prose(command.help or "")
    if command.epilog:
        yield from _prose(command.epilog)
    for option in options:
        value = "" if option.is_flag else rf" \fI{_plain(option.metavar or option.type.name.upper())}\fR"
        yield ".TP"
        yield rf"\fB{_plain(', '.join(option.opts))}\fR{value}"
        yield from _prose(option.help or "")


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    if isinstance(argument.type, click.Choice):
        name = "|".join(argument.type.choices)
    return rf"\fI{_plain(name)}\fR" if argument.required else rf"[\fI{_plain(name)}\fR]"


def _head(name: str, summary: str) -> list[str]:
    return [
        f'.TH {name.upper()} 1 "" quiesce "Manual of quiesce"',
        ".SH NAME",
        rf"{_plain(name)} \- {_plain(summary)}",
    ]


def _section(name: str, lines: list[str]) -> list[str]:
    return [f".SH {name}", *lines]


def _item(term: str, meaning: str) -> list[str]:
    return [".TP", rf"\fB{_plain(term)}\fR", *_prose(meaning)]


def _summary(command: click.Command) -> str:
    text = " ".join(inspect.cleandoc(command.help or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.:;]) ", text)[0].rstrip(".:;")


def _prose(text: str) -> list[str]:
    """Return paragraphs; those that click leaves as they are stand as they are here, too."""
    lines: list[str] = []
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            lines.append(".PP")
        if paragraph.startswith("\b"):
            lines += [".nf", *map(_line, paragraph.splitlines()[1:]), ".fi"]
        else:
            lines += map(_line, paragraph.splitlines())
    return lines


def _line(text: str) -> str:
    return r"\&" + _plain(text) if text.startswith((".", "'", " ")) else _plain(text)


def _plain(text: str) -> str:
    """Return *text* so that nothing of it is an order to the formatter."""
    plain = text.replace("\\", r"\e").replace("-", r"\-").replace("\b", "")
    return "".join(letter if letter.isascii() else rf"\[u{ord(letter):04X}]" for letter in plain)


def _words(name: str) -> str:
    return name.lower().replace("_", " ")
