"""A `Context` for calling providers without an engine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Related
from quiesce.model.ids import Json
from quiesce.model.records import Level


class RecordingContext:
    """Keeps what a provider says; gives it *timeout_s* seconds from now."""

    def __init__(self, *, timeout_s: float = 60.0, secrets: Mapping[str, str] | None = None) -> None:
        self.lines: list[tuple[Level, str]] = []
        self.copied_bytes = 0
        self.runtime_properties: dict[str, Json] | None = None
        self._ends = time.monotonic() + timeout_s
        self._secrets = dict(secrets or {})
        #: what `cut_together` returns
        self.together: Sequence[Related] = ()
        self._given_up = False

    def log(self, level: Level, message: str) -> None:
        """Keep the line."""
        self.lines.append((level, message))

    def remaining_s(self) -> float:
        """Return what is left of the time given at first."""
        return max(0.0, self._ends - time.monotonic())

    def given_up(self) -> bool:
        """Tell whether `give_up` was called."""
        return self._given_up

    def give_up(self) -> None:
        """Behave as when the engine does not wait any more."""
        self._given_up = True

    def progress(self, done_bytes: int, total_bytes: int | None = None) -> None:
        """Keep the highest figure."""
        self.copied_bytes = max(self.copied_bytes, done_bytes)

    def set_runtime_properties(self, properties: Mapping[str, Json]) -> None:
        """Keep them."""
        self.runtime_properties = dict(properties)

    def secret(self, name: str) -> str:
        """Return the secret given at first."""
        if name not in self._secrets:
            raise NonRecoverableError(f"there is no secret {name!r}")
        return self._secrets[name]

    def cut_together(self) -> Sequence[Related]:
        """Return what the test says."""
        return self.together
