"""What the nodes of all servers say alike; a provider's own options are added to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quiesce.model.ids import Json
from quiesce.model.options import option
from quiesce.model.words import read_absolute_path, read_unit
from quiesce.provider_kit.repository_option import read_repository


def read_path(value: Json) -> Path:
    """Return an absolute path."""
    return Path(read_absolute_path(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServerOptions:
    """Where a server's files are, and how it is stopped and started."""

    data_directory: Path | None = option(
        None,
        "the server's files on this machine; without it, they are not replaced",
        read=read_path,
        per_node=True,
    )
    systemd_unit: str | None = option(
        None,
        "unit that it is stopped and started by (default: as it was started before)",
        read=read_unit,
        per_node=True,
    )
    repository: str | None = option(
        None, "path or URL of the node's own repository", read=read_repository, per_node=True
    )
