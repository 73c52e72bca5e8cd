"""What an operator may choose for a machine."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from quiesce.model.options import option
from quiesce.model.words import whole_number
from quiesce.provider_kit.repository_option import read_repository


class Quiescing(enum.StrEnum):
    """Whether VMware Tools freeze the guest's file systems for the cut."""

    #: where Tools run and the blueprint does not freeze the machine itself; else a crash-consistent cut
    AUTO = "auto"
    #: or the cut fails
    ALWAYS = "always"
    NEVER = "never"


class BackupTarget(enum.StrEnum):
    """Where full copies go."""

    REPOSITORY = "repository"
    CLONE = "clone"


class ChangeTracking(enum.StrEnum):
    """Whether only what has changed is read, where vSphere tracks that."""

    AUTO = "auto"
    NEVER = "never"


class PowerAfter(enum.StrEnum):
    """How a restored machine is left."""

    AS_AT_CUT = "as_at_cut"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class VSphereOptions:
    """The choices for one call."""

    snapshot_memory: bool = option(False, "save the machine's memory too; then the guest is never quiesced")
    quiesce: Quiescing = option(Quiescing.AUTO, "whether VMware Tools freeze the guest: auto, always, never")
    quiesce_timeout_min: int | None = option(
        None, "how many minutes the guest may take to quiesce, 5 to 240", read=whole_number(5, 240)
    )
    leave_out_disks: bool = option(False, "go on without the disks that no snapshot can hold")
    backup_to: BackupTarget = option(BackupTarget.REPOSITORY, "where full copies go: repository, clone")
    change_tracking: ChangeTracking = option(
        ChangeTracking.AUTO, "whether only changes are read where vSphere tracks them: auto, never"
    )
    full_read_every: int = option(
        14, "after how many copies whole disks are read again, tracked or not", read=whole_number(1)
    )
    repository: str | None = option(
        None,
        "path or URL of the repository, when it is not quiesce's own",
        read=read_repository,
        per_node=True,
    )
    datastore: str | None = option(None, "name of the datastore for clones and restored machines")
    folder: str | None = option(None, "name of the folder for clones and restored machines")
    probe_agent: bool | None = option(
        None, "whether a restored machine's VMware Tools must answer, or the restore fails; false: not asked"
    )
    restore_to: str | None = option(None, "restore a full copy as another machine of this name")
    power_after: PowerAfter = option(
        PowerAfter.AS_AT_CUT, "how a restored machine is left: as_at_cut, on, off"
    )
