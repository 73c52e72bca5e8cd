"""What may be chosen for servers and volumes of OpenStack."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from quiesce.model.options import option


class GroupSnapshots(enum.StrEnum):
    """When volumes that are a group of Cinder's are cut by one snapshot of it."""

    #: where Cinder says that it is of one instant
    AUTO = "auto"
    #: wherever they are a group: the operator knows that it is
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStackOptions:
    """The choices for one call."""

    swap_volume: bool = option(
        False, "whether a new volume takes the place of one that Cinder cannot revert to an older snapshot"
    )
    incremental_backup: bool = option(
        False, "whether Cinder stores only what differs from the volume's newest backup, if that is quiesce's"
    )
    group_snapshots: GroupSnapshots = option(
        GroupSnapshots.AUTO,
        "whether volumes that are a group of Cinder's are cut by one snapshot of it: auto (where its type "
        "promises one instant), always, never",
    )
