"""What may be chosen for machines and disks of Compute Engine."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from quiesce.model.options import option


class CopyAs(enum.StrEnum):
    """What a copy of a machine consists of."""

    #: snapshots of its disks when that makes one cut, else a machine image
    AUTO = "auto"
    DISKS = "disks"
    MACHINE_IMAGE = "machine_image"


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpOptions:
    """The choices for one call."""

    copy_as: CopyAs = option(
        CopyAs.AUTO, "snapshots of a machine's disks, a machine image, or whichever makes one cut"
    )
    guest_flush: bool = option(False, "ask the guest to flush as part of the cut; makes standard snapshots")
    storage_locations: tuple[str, ...] = option(
        (), "where backups are stored: regions or multi-regions; Google chooses when there is none"
    )
    discard_local_ssd: bool | None = option(
        None, "whether Local SSD may lose its data when the machine is stopped or suspended"
    )
    restore_beside: bool = option(False, "restore next to the original instead of into it")
    keep_replaced: bool = option(True, "keep the disks that a restore replaces")
    drop_replaced: bool = option(
        False, "when a restore point is removed: also remove the disks that its restores replaced"
    )
