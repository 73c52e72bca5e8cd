"""The files that have a machine call 'quiesce run-due'."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from quiesce.errors import UsageError


def systemd_service(program: str, environment: Mapping[str, str]) -> str:
    """Return the unit that runs what is due, once.

    ``KillMode=process``: the guard, which thaws when quiesce itself was killed, is not to be killed with it.
    """
    words = (_unit_text(f"{name}={value}") for name, value in environment.items())
    variables = "".join(f"Environment={word}\n" for word in words)
    return (
        "[Unit]\nDescription=Run the quiesce policies that are due\n"
        "Documentation=man:quiesce(1)\n\n"
        "[Service]\nType=oneshot\n"
        f"{variables}ExecStart={_unit_text(program)} run-due --quiet\n"
        "KillMode=process\nOOMPolicy=continue\nTimeoutStopSec=120\n"
    )


def systemd_timer(every_minutes: int) -> str:
    """Return the unit that starts the service every few minutes; policies say what is due."""
    return (
        "[Unit]\nDescription=Look every few minutes which quiesce policies are due\n\n"
        f"[Timer]\nOnCalendar=*:0/{every_minutes}\nAccuracySec=1s\nPersistent=true\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )


def cron_file(program: str, every_minutes: int, environment: Mapping[str, str]) -> str:
    """Return a file for ``/etc/cron.d``."""
    variables = "".join(f'{name}="{_one_line(value)}"\n' for name, value in environment.items())
    command = shlex.quote(_one_line(program)).replace("%", r"\%")
    return (
        "# Run the quiesce policies that are due. What it prints is trouble, and cron mails it.\n"
        f"{variables}*/{every_minutes} * * * * root {command} run-due --quiet\n"
    )


def _unit_text(text: str) -> str:
    """Return *text* as one word of a unit: nothing in it ends the word, or is a specifier."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("%", "%%")
    return f'"{_one_line(escaped)}"'


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise UsageError(f"{text!r} cannot stand in a file of the machine's scheduler")
    return text
