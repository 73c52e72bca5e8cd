"""Processes that die at any moment of their work on a platform, and what the next one finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quiesce.model.ids import Json
from quiesce.testing import Fuse, RecordingContext


class Fused:
    """A thing whose every call is touched before and after its effect, and so of the *parts* it returns."""

    def __init__(
        self, thing: Any, fuse: Fuse, *, parts: tuple[type[Any], ...] = (), spared: tuple[str, ...] = ()
    ) -> None:
        self._thing, self._fuse, self._parts, self._spared = thing, fuse, parts, spared

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        if not callable(found) or name in self._spared:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._fuse.burn()
            result = found(*arguments, **named)
            self._fuse.burn()
            if isinstance(result, self._parts):
                return Fused(result, self._fuse, parts=self._parts, spared=self._spared)
            return result

        return call


class Life(RecordingContext):
    """The context of one process: what it keeps is there in the next one."""

    def __init__(self, kept: dict[str, Json], fuse: Fuse) -> None:
        super().__init__()
        self._kept, self._fuse = kept, fuse

    def set_runtime_properties(self, properties: Mapping[str, Json]) -> None:
        self._fuse.burn()
        self._kept.clear()
        self._kept.update(properties)
        self._fuse.burn()
