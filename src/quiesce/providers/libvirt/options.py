"""What may be chosen for a domain, a volume, a network or a pool."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.model.options import option
from quiesce.model.words import read_absolute_path, read_positive_seconds
from quiesce.provider_kit.repository_option import read_repository

#: QEMU writes its scratch files and its socket here: it must be able to, whatever user it runs as
SCRATCH_DIR: Final = "/var/tmp"  # noqa: S108  names are unguessable and files private


class SnapshotKind(enum.StrEnum):
    """Where a snapshot lies."""

    #: in files of its own, disks only
    EXTERNAL = "external"
    #: inside the qcow2 images, with memory when the domain runs
    INTERNAL = "internal"


class BackupMode(enum.StrEnum):
    """How much a backup copies."""

    FULL = "full"
    #: only what changed since the last backup, where that is possible
    INCREMENTAL = "incremental"


@dataclass(frozen=True, slots=True, kw_only=True)
class LibvirtOptions:
    """The choices for one call."""

    mountpoints: tuple[str, ...] = option(
        (), "freeze only these file systems; one that is missing is an error"
    )
    freeze_timeout: float = option(
        20.0, "how long the guest agent may take to freeze", read=read_positive_seconds
    )
    save_memory: bool = option(False, "suspend writes the memory to disk and stops QEMU (managed save)")
    snapshot_kind: SnapshotKind = option(
        SnapshotKind.EXTERNAL,
        "external: disks only, in milliseconds; internal: inside the qcow2 images, with memory when it runs",
    )
    backup_mode: BackupMode = option(
        BackupMode.FULL, "incremental: only what changed since the last backup, where that is possible"
    )
    exclude_disks: tuple[str, ...] = option((), "targets (vdb) that are neither saved nor restored")
    scratch_dir: str = option(
        SCRATCH_DIR, "where QEMU keeps what the guest overwrites while it is read", read=read_absolute_path
    )
    probe_agent: bool | None = option(
        None, "whether a restored domain's guest agent must answer, or the restore fails; false: not asked"
    )
    restore_as: str | None = option(None, "restore as a new domain of this name, next to the old one")
    apply_network: bool = option(False, "put back the definition of a network or pool, not only compare it")
    repository: str | None = option(
        None, "path or URL of this node's own repository", read=read_repository, per_node=True
    )
    backup_dir: str | None = option(
        None, "the same in Cloudify's own blueprints; a relative one counts for nothing", per_node=True
    )

    def repository_or(self, default: str) -> str:
        """Return the node's own repository; Cloudify's blueprints say ``./`` where they mean none."""
        named = self.backup_dir if self.backup_dir and Path(self.backup_dir).is_absolute() else None
        return self.repository or named or default
