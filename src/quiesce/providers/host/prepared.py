"""Copies of trees that were begun before the window, held until they are cut."""

from __future__ import annotations

from quiesce.files.descriptors import Identity
from quiesce.model.call import Call
from quiesce.providers.host.tree_copies import TreeCopy

_Key = tuple[str, str, str, str]


class PreparedCopies:
    """What this process has copied beforehand. Safe from many threads.

    What another process had prepared is unknown here: then all is taken within the window.
    """

    def __init__(self) -> None:
        self._copies: dict[_Key, TreeCopy] = {}

    def keep(self, call: Call, copy: TreeCopy) -> None:
        """Hold *copy* for the cut of the call's instance, or until it is let go."""
        self._copies[_key(call)] = copy

    def of(self, call: Call, source: int) -> TreeCopy | None:
        """Return the copy that was made for *call* of the very directory *source*; None: there is none."""
        copy = self._copies.get(_key(call))
        if copy is None or Identity.of_descriptor(copy.source) != Identity.of_descriptor(source):
            return None
        return copy

    def let_go(self, call: Call) -> None:
        """Forget what was prepared for *call*; it is fine when nothing was."""
        if (copy := self._copies.pop(_key(call), None)) is not None:
            copy.close()

    def close(self) -> None:
        """Forget everything."""
        while self._copies:
            self._copies.popitem()[1].close()


def _key(call: Call) -> _Key:
    return call.deployment, call.instance, call.point or "", call.execution
