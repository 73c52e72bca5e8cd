"""What a node of this machine says about itself, nearly all of it by the node alone.

Nothing that is given for one execution may say which path is replaced, or which process is stopped.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from quiesce.model.ids import Json
from quiesce.model.options import option
from quiesce.model.words import WrongValueError, read_text, whole_number


class ProcessScope(enum.StrEnum):
    """Which processes belong to the one that is named."""

    #: its descendants
    TREE = "tree"
    #: its process group, and all their descendants
    GROUP = "group"
    #: its session, and all their descendants
    SESSION = "session"


def read_path(value: Json) -> Path:
    """Return an absolute path; ``~`` is the home of whoever runs quiesce."""
    path = Path(read_text(value)).expanduser()
    if not path.is_absolute() or ".." in path.parts:
        raise WrongValueError(value, "an absolute path without '..'")
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """The properties of a node; which of them it has depends on its type."""

    path: Path | None = option(None, "what the node stands for", read=read_path, per_node=True)
    snapshot_dir: Path | None = option(
        None, "where snapshots are kept, instead of beside the path", read=read_path, per_node=True
    )
    allow_in_use: bool = option(False, "whether a directory is restored although programs use it")
    repository: Path | None = option(
        None, "directory of the node's own repository", read=read_path, per_node=True
    )
    pid_file: Path | None = option(
        None, "file that holds the number of the first process", read=read_path, per_node=True
    )
    pid: int | None = option(
        None, "number of the first process", read=whole_number(1, 2**31 - 1), per_node=True
    )
    command: str | None = option(
        None, "regular expression that the first process's command line matches", per_node=True
    )
    scope: ProcessScope = option(ProcessScope.TREE, "which other processes belong to it", per_node=True)
