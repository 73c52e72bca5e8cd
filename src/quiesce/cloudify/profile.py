"""The files of cfy's local profile that keep node instances; a killed cfy may leave one half written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


class KeptInstances:
    """Remembers the node instances as they are now."""

    def __init__(self, context: Any) -> None:
        """*context* is a workflow's ``ctx``; a manager needs none of this."""
        self._kept: Mapping[Path, bytes] = _read(context) if context.local else {}

    def mend(self) -> None:
        """Put back those that cannot be read any more: without them neither a thaw nor cfy works."""
        for path, content in self._kept.items():
            with suppress(OSError):
                if not _is_whole(path):
                    path.write_bytes(content)  # no other file beside it: cfy takes each for an instance


def _read(context: Any) -> Mapping[Path, bytes]:
    storage = context.internal.handler.storage
    files = (
        Path(storage._storage._instance_path(storage.name, instance.id))  # noqa: SLF001  no other way
        for instance in context.node_instances
    )
    return {path: path.read_bytes() for path in files}


def _is_whole(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
