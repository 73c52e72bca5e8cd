"""What a node of this machine says about itself, nearly all of it by the node alone.

Nothing that is given for one execution may say which path is replaced, or which process is stopped.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from quiesce.model.ids import Json
from quiesce.model.options import option
from quiesce.model.words import WrongValueError, read_text, read_unit, whole_number
from quiesce.provider_kit.repository_option import read_repository


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
class Probe:
    """What is asked to learn whether a process answers: exactly one of these."""

    command: str = ""
    #: host and port
    address: tuple[str, int] | None = None
    url: str = ""


def read_probe(value: Json) -> Probe:
    """Return a probe: a port of this machine, an address, a URL, or a command."""
    if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
        return Probe(address=("127.0.0.1", _PORT(value)))
    text = read_text(value)
    parts = urlsplit(text)
    if parts.scheme in ("http", "https") and parts.hostname:
        return Probe(url=text)
    if parts.scheme == "tcp":
        match = re.fullmatch(r"tcp://(\[[0-9a-fA-F:]+\]|[^:/]+):([0-9]+)/?", text)
        if match is None:
            raise WrongValueError(value, "an address such as tcp://127.0.0.1:5432")
        return Probe(address=(match[1].strip("[]"), _PORT(match[2])))
    return Probe(command=text)


_PORT: Final = whole_number(1, 65535)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """The properties of a node; which of them it has depends on its type."""

    path: Path | None = option(None, "what the node stands for", read=read_path, per_node=True)
    snapshot_dir: Path | None = option(
        None, "where snapshots are kept, instead of beside the path", read=read_path, per_node=True
    )
    allow_in_use: bool = option(False, "whether a directory is restored although programs use it")
    allow_privileged: bool = option(
        False,
        "whether set-user-ID and set-group-ID of files, capabilities and devices are restored",
        per_node=True,
    )
    repository: str | None = option(
        None, "path or URL of the node's own repository", read=read_repository, per_node=True
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
    start: str | None = option(None, "command that starts it", per_node=True)
    stop: str | None = option(None, "command that stops it (default: SIGTERM)", per_node=True)
    systemd_unit: str | None = option(
        None, "unit of systemd that it is: stopped and started by systemctl", read=read_unit, per_node=True
    )
    probe: Probe | None = option(
        None,
        "how to tell that it answers: a command, a TCP port, tcp://HOST:PORT, http:// or https://",
        read=read_probe,
        per_node=True,
    )
    scope: ProcessScope = option(ProcessScope.TREE, "which other processes belong to it", per_node=True)
