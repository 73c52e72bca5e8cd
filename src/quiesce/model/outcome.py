"""What a provider answers when an operation has succeeded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one operation on one instance; everything is optional."""

    #: SNAPSHOT, COPY: what is needed to copy, apply, verify and delete later (ids, files, sizes, checksums);
    #: COPY's answer replaces SNAPSHOT's. Plain JSON, no secret. Known keys are listed in `Artifact`.
    artifact: Mapping[str, Json] | None = None
    #: FREEZE, SNAPSHOT: the highest consistency of a cut that depends on this; None: no limit
    consistency: Consistency | None = None
    #: MEASURE: figures by name, units in the name (``cpu_percent``, ``memory_bytes``)
    measurements: Mapping[str, Json] | None = None
    #: anything the operator should read, in one sentence (why the consistency is lower, what was left out)
    note: str = ""
    #: what a script or an old plugin returned, for ``--json``
    result: Json = None

    @property
    def lowers(self) -> bool:
        """Whether it lowers the restore point's consistency below that of frozen file systems."""
        return self.consistency is not None and self.consistency < Consistency.FILESYSTEM


NOTHING = Outcome()
