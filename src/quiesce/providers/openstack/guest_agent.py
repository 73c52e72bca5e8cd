"""The properties of an image that say whether Nova freezes the guest around its snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from quiesce.providers.openstack.resources import Volume

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
