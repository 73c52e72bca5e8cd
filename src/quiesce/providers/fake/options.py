"""What may be chosen for a fake machine."""

from __future__ import annotations

from dataclasses import dataclass

from quiesce.model.options import option


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeOptions:
    """The choices for one call."""

    seconds: float = option(0.0, "how long each operation takes")
