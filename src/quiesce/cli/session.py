"""What every command that works on stored state does first and last."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from quiesce.app.masking import Masking, masked_error
from quiesce.app.run.recover import find_unfinished
from quiesce.app.services import Services
from quiesce.bootstrap import Application, Settings, start_guard
from quiesce.cli.printing import say
from quiesce.errors import ExitStatus, QuiesceError
from quiesce.model.debts import Owed

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, a stable interface.")


@contextmanager
def services(*, freezing: bool = False, warn: bool = True) -> Iterator[Services]:
    """Give the services, and close them afterwards; *freezing* starts a guard ahead.

    Unfinished executions are reported on standard error, by every command, until they are settled.
    """
    settings = Settings.of(os.environ)
    guard = start_guard(settings) if freezing else None
    application = Application(settings, guard)
    try:
        if warn:
            _warn_of_unfinished(application.services)
        with without_secrets(application.services.masking):
            yield application.services
    finally:
        application.close()


@contextmanager
def without_secrets(masking: Masking) -> Iterator[None]:
    """Take the secrets out of what is raised within the block, out of a bug's traceback too."""
    try:
        yield
    except QuiesceError as error:
        masked_error(masking, error)
        raise
    except Exception:
        trace = traceback.format_exc()
        masked = masking.text(trace)
        if masked == trace:
            raise
        say(masked, err=True)
        sys.exit(ExitStatus.INTERNAL)


def _may_be(owed: Owed) -> str:
    told = {"may STILL BE FROZEN": owed.frozen, "may STILL BE STOPPED": owed.stopped}
    return "; ".join(f"{', '.join(names)} {what}" for what, names in told.items() if names)


def _warn_of_unfinished(services: Services) -> None:
    for unfinished in find_unfinished(services):
        execution = unfinished.execution
        if unfinished.owed:
            say(
                f"quiesce: {_may_be(unfinished.owed)} of {execution.deployment} by {execution.id}. "
                "Settle it: quiesce recover",
                err=True,
                fg="red",
                bold=True,
            )
        elif execution.state == "running":
            say(
                f"quiesce: {execution.id} was interrupted. Resume it: "
                f"quiesce executions resume {execution.id}; "
                f"or roll back: quiesce executions cancel {execution.id}",
                err=True,
                fg="yellow",
            )


def on_terminal() -> bool:
    """Tell whether somebody is watching."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
