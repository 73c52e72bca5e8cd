"""What outlives the process about one instance: entries of its runtime properties."""

from __future__ import annotations

from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.ports import Context


class Notebook:
    """Runtime properties of one call's instance; every change is durable when the method returns."""

    def __init__(self, call: Call, context: Context) -> None:
        self._context = context
        self._entries: dict[str, Json] = dict(call.runtime_properties)

    def read(self, key: str) -> Json:
        """Return an entry; None when there is none."""
        return self._entries.get(key)

    def write(self, **entries: Json) -> None:
        """Set entries; None removes one."""
        merged = self._entries | entries
        self._entries = {key: value for key, value in merged.items() if value is not None}
        self._context.set_runtime_properties(dict(self._entries))
