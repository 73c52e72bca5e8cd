"""Runs one operation in a child, from beginning to end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quiesce.errors import NonRecoverableError
from quiesce.files.trust import require_trusted
from quiesce.isolation.answers import ContextAnswers
from quiesce.isolation.child import Child, Command
from quiesce.isolation.reaper import Reaper
from quiesce.isolation.session import Session
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import INDEBTING, Operation
from quiesce.ports import Context

ADDRESS = "CTX_SOCKET_URL"
_GRACE_S = 2.0
_TMPDIR = "Set TMPDIR to a directory that nobody else can change, or to one that is sticky, such as /tmp."


def run_child(
    command: Callable[[str], Command], data: dict[str, Any], context: Context, *, name: str, reaper: Reaper
) -> Json:
    """Run what *command* answers for the address of the child's ``ctx``, and return its result.

    Raises:
        ProviderError: when *name* failed, was not done in time, or asked to be run again.
    """
    answers = ContextAnswers(data, context)
    with private_directory() as directory:
        try:
            session = Session(answers, context, directory=directory)
        except OSError as error:
            raise NonRecoverableError(f"{name} cannot be given its ctx: {error}") from error
        with session, Child(command(session.address), reaper) as child:
            status = session.serve(child, name)
    return answers.result.final(name, status)


@contextmanager
def private_directory() -> Iterator[str]:
    """Give a new directory of our own, for the time of a block.

    Raises:
        UntrustedPathError: when ``TMPDIR`` is where somebody else could put another one in its place.
    """
    require_trusted(Path(tempfile.gettempdir()) / "quiesce-", hint=_TMPDIR)
    with tempfile.TemporaryDirectory(prefix="quiesce-", ignore_cleanup_errors=True) as directory:
        yield directory


def inherited_environment() -> dict[str, str]:
    """Return our own environment for a child, without quiesce's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("QUIESCE_")}


def everybodys_environment() -> dict[str, str]:
    """Return what a program of another user may know of our environment."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def facts_of(call: Call) -> dict[str, str]:
    """Return what a child may know of why it runs, as variables of its environment."""
    point = call.point or call.parameters.snapshot_name or ""
    return {
        "QUIESCE_WORKFLOW": call.workflow,
        "QUIESCE_OPERATION": call.operation.value,
        "QUIESCE_POINT": point,
    }


def grace_s(operation: Operation) -> float:
    """Return how long a child may take to end when it is asked to.

    A freeze or a stop gets no time: it could still take effect after the thaw or start that follows.
    """
    return 0.0 if operation in INDEBTING else _GRACE_S
