"""Restore points: what the catalog knows of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, Json


class PointState(enum.StrEnum):
    """The state of a restore point, or of one artifact of it."""

    #: an execution is making it, or died while making it
    INCOMPLETE = "incomplete"
    #: everything that was planned is there
    COMPLETE = "complete"
    #: some instances failed and their parts are missing; kept because it was asked for
    PARTIAL = "partial"
    #: an execution is removing it, or died while removing it
    REMOVING = "removing"
    REMOVED = "removed"


#: in `Artifact.content`: the identity of the repository that its copy lies in
REPOSITORY: Final = "repository"
#: in `Artifact.content`: how much its copy added to the repository, of which other copies may need something
STORED_BYTES: Final = "stored_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What one instance contributes to a restore point."""

    instance: InstanceId
    provider: str
    function: str
    state: PointState
    consistency: Consistency
    #: what the provider needs to find it again; opaque, but ``files`` (list of path, size_bytes,
    #: address), ``size_bytes`` and ``objects`` (list of provider object ids) are shown when present;
    #: ``builds_on`` (list of restore points without which it cannot be restored) keeps those from pruning
    content: Mapping[str, Json] = field(default_factory=dict)
    #: why its consistency is no higher
    note: str = ""
    #: seconds since the epoch
    cut_at: float | None = None
    #: how long the cut took, in seconds
    cut_s: float | None = None
    #: how long the node was frozen around it, in seconds; None when it was not frozen
    frozen_s: float | None = None
    #: digest of the manifest that lies with its copy in a repository; empty when there is none
    manifest_sha256: str = ""

    @property
    def repository(self) -> str:
        """Which repository its copy lies in, wherever that is mounted; empty where nobody knows."""
        return repository_of(self.content)


def repository_of(content: Mapping[str, Json]) -> str:
    """Return the identity of the repository that an artifact's *content* names; empty: it names none."""
    found = content.get(REPOSITORY)
    return found if isinstance(found, str) else ""


#: kind of the proof of a node whose data are part of another instance's artifact
ELSEWHERE: Final = "elsewhere"
#: kinds of the proof by a blueprint's own ``verify``: it says that it has read everything, or does not
READ: Final = "read"
CHECKED: Final = "checked"
#: kind of the proof by a restore into a scratch directory, in which everything was read
RESTORED: Final = "restored"
#: kinds after which nothing is left that was not read
_READING: Final = frozenset({"checksums", READ, RESTORED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The result of one check of a restore point."""

    at: float
    #: ``checksums``, `READ`, `RESTORED`: every byte was read; ``presence``: everything is there;
    #: `CHECKED`: something of it was looked at
    kind: str
    passed: bool
    detail: str = ""

    @property
    def read(self) -> bool:
        """Whether every byte was read; else it was only seen that everything is there."""
        return self.kind in _READING

    #: whether some of it was not read: only looked at, or nothing can check it
    partial: bool = False
    #: whose parts are damaged; none although it has failed: the restore point as a whole
    damaged: tuple[InstanceId, ...] = ()


class Trust(enum.StrEnum):
    """What the last check of a restore point found."""

    #: nobody has checked it
    UNPROVEN = "never"
    #: nothing wrong was found, but not everything was read
    PARTLY = "partly"
    #: everything was read, and is what was written
    PROVEN = "proven"
    DAMAGED = "damaged"


#: of an artifact's content: how many entries come back as they were only where the node allows it
PRIVILEGED: Final = "privileged"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePoint:
    """A named set of artifacts that can be restored together."""

    deployment: DeploymentName
    name: BackupName
    #: true: full copies (a backup); false: snapshots
    full: bool
    type: str
    rotation: int
    execution: ExecutionId
    state: PointState
    consistency: Consistency
    #: by the wall clock, which may have been wrong
    made_at: float
    #: its place in the order in which restore points were made, whatever the clock said; 0: not yet kept
    sequence: int = 0
    #: time from the first freeze to the last thaw, in seconds; 0 when nothing was frozen
    window_s: float = 0.0
    #: time between the first cut's end and the last one's, in seconds
    skew_s: float = 0.0
    #: the machine that made it, where several share the database; empty: there is one
    host: str = ""
    #: taken by a restore before it replaced the state
    safety: bool = False
    artifacts: tuple[Artifact, ...] = ()
    proofs: tuple[Proof, ...] = ()
    #: digest of its own manifest, as it lies beside the data; empty when none was written
    manifest_sha256: str = ""
    #: what is wrong with its entry in the catalog; empty: nothing
    damage: str = ""

    @property
    def stored_bytes(self) -> int | None:
        """How much is stored of it, as far as its artifacts say; None: none does."""
        sizes = [artifact.content.get("size_bytes") for artifact in self.artifacts]
        known = [size for size in sizes if isinstance(size, int)]
        return sum(known) if known else None

    @property
    def trust(self) -> Trust:
        """What its last check found."""
        if self.damage or (self.proofs and not self.proofs[-1].passed):
            return Trust.DAMAGED
        if not self.proofs:
            return Trust.UNPROVEN
        last = self.proofs[-1]
        return Trust.PARTLY if last.partial else Trust.PROVEN
