"""The properties of an image that say whether Nova freezes the guest around its snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from quiesce.providers.openstack import power
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.resources import Server, Volume

#: there is an agent; no snapshot without it
AGENT: Final = "hw_qemu_guest_agent"
REQUIRED: Final = "os_require_quiesce"
_YES: Final = ("yes", "true", "1")


def may_freeze(properties: Mapping[str, str]) -> bool:
    """Tell whether Nova freezes the guest of a server whose image has these properties, if it can."""
    return properties.get(AGENT, "").lower() in _YES


def missing_properties(volumes: Iterable[Volume]) -> str | None:
    """Return which image property is missing for a provable freeze, or None."""
    properties: dict[str, str] = {}
    for volume in volumes:
        properties |= volume.image_metadata if volume.bootable else {}
    missing = [key for key in (AGENT, REQUIRED) if properties.get(key, "").lower() not in _YES]
    return f"its image lacks {' and '.join(f'{key}=yes' for key in missing)}" if missing else None


def frozen_twice(job: OpenStackJob, server: Server, attached: Sequence[Volume]) -> bool:
    """Tell whether Nova's thaw, after its own snapshot, ends the freeze of a hook."""
    if server.status != power.ACTIVE or not job.frozen_by_hook or not attached:
        return False
    return frozen_by_nova(job, server, attached)


def frozen_by_nova(job: OpenStackJob, server: Server, volumes: Sequence[Volume]) -> bool:
    """Tell whether Nova may have frozen the guest; yes, when its image cannot be asked any more."""
    if server.boots_from_volume:
        return any(may_freeze(volume.image_metadata) for volume in volumes if volume.bootable)
    image = job.cloud.image(str(server.image_id))
    return image is None or may_freeze(image.metadata)
