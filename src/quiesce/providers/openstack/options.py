"""What may be chosen for servers and volumes of OpenStack."""

from __future__ import annotations

from dataclasses import dataclass

from quiesce.model.options import option


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStackOptions:
    """The choices for one call."""

    swap_volume: bool = option(
        False, "whether a new volume takes the place of one that Cinder cannot revert to an older snapshot"
    )
    incremental_backup: bool = option(
        False, "whether Cinder stores only what differs from the volume's newest backup, if that is quiesce's"
    )
