"""The kinds of name that quiesce handles, and the rule for names that people choose."""

from __future__ import annotations

import re
from typing import Final, NewType, TypeAlias

from quiesce.errors import UsageError

NodeId = NewType("NodeId", str)
InstanceId = NewType("InstanceId", str)
StepId = NewType("StepId", str)
ExecutionId = NewType("ExecutionId", str)
DeploymentName = NewType("DeploymentName", str)
BackupName = NewType("BackupName", str)

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

#: what the name in a lease begins with whose holder only settles
SETTLING: Final = "settling-"
#: what a name that becomes part of paths and object names may consist of
NAME_RULE = "1 to 128 letters, digits and . _ - + : @, the first a letter or a digit, no '..'"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:@-]{0,127}")


def settler_of(execution: ExecutionId) -> ExecutionId:
    """Return the name in a lease whose holder only settles what *execution*, whose engine is dead, owes."""
    return ExecutionId(f"{SETTLING}{execution}")


def backup_name(text: object) -> BackupName:
    """Return *text* as the name of a restore point.

    Raises:
        UsageError: when it could not safely become part of a path or an object name.
    """
    return BackupName(_checked("snapshot_name", text))


def deployment_name(text: object) -> DeploymentName:
    """Return *text* as a deployment's name.

    Raises:
        UsageError: when it could not safely become part of a path or an object name.
    """
    return DeploymentName(_checked("deployment name", text))


def _checked(kind: str, text: object) -> str:
    if not isinstance(text, str) or not _NAME.fullmatch(text) or ".." in text:
        shown = repr(text) if len(repr(text)) <= 60 else f"{repr(text)[:57]}..."
        raise UsageError(f"{kind} {shown} is not allowed: it must be {NAME_RULE}")
    return text
