"""A router's way outside, put back as far as this user may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from quiesce.model.ids import Json
from quiesce.providers.openstack.errors import NotAllowedError

FIELD: Final = "external_gateway_info"
#: only administrators may set them
_ADDRESSES: Final = "external_fixed_ips"
_TRANSLATION: Final = "enable_snat"


def put_gateway_back(
    change: Callable[[Mapping[str, Json]], None], saved: Any, now: Any, warn: Callable[[str], None]
) -> None:
    """Let *change* send what differs between the gateway that was *saved* and the one that is there *now*.

    Raises:
        NotAllowedError: when this user may not, and a gateway without its addresses would be another thing.
    """
    if not saved:
        change({FIELD: {}})
        return
    wanted = {"network_id": saved["network_id"]}
    if saved.get(_TRANSLATION) is False:  # left out it is true, whatever it was
        wanted[_TRANSLATION] = False
    addresses = saved.get(_ADDRESSES)
    if addresses is None or addresses == (now or {}).get(_ADDRESSES):
        change({FIELD: wanted})
        return
    try:
        change({FIELD: wanted | {_ADDRESSES: addresses}})
    except NotAllowedError:
        if _TRANSLATION in wanted:
            raise
        change({FIELD: wanted})
        warn(f"this user may not set {_ADDRESSES}, so the gateway's addresses are not {addresses} again")
