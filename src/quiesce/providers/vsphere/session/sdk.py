"""The SDK, imported here only. Its own types are incomplete, so its objects count as `Any`."""

from __future__ import annotations

from typing import Any

from pyVmomi import SoapAdapter  # type: ignore[import-not-found,unused-ignore]
from pyVmomi import vim as _vim  # type: ignore[import-not-found,unused-ignore]
from pyVmomi import vmodl as _vmodl  # type: ignore[import-not-found,unused-ignore]

vim: Any = _vim
vmodl: Any = _vmodl
SoapStubAdapter: Any = SoapAdapter.SoapStubAdapter


def id_of(found: Any) -> str:
    """Return the id of a managed object."""
    return str(found._moId)  # noqa: SLF001  the SDK has no other way
