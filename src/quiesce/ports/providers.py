"""What the core asks of platforms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call, Related
from quiesce.model.cut_size import CutSize
from quiesce.model.former_state import FormerState
from quiesce.model.ids import Json
from quiesce.model.outcome import Outcome
from quiesce.model.records import Level
from quiesce.model.restore_point import Proof
from quiesce.model.stored_entry import StoredListing
from quiesce.model.target import RestoreTarget


class Context(Protocol):
    """What a provider may use while it performs one call."""

    def log(self, level: Level, message: str) -> None:
        """Put a line into the execution's events, now. Never pass a secret."""
        ...

    def remaining_s(self) -> float:
        """Return how many seconds this attempt still has; pass it on as time-out, and stop at 0."""
        ...

    def given_up(self) -> bool:
        """Tell whether the caller has stopped waiting (time-out, cancel): stop when safe."""
        ...

    def progress(self, done_bytes: int, total_bytes: int | None = None) -> None:
        """Say how far a COPY or an APPLY is; cheap, call it often."""
        ...

    def set_runtime_properties(self, properties: Mapping[str, Json]) -> None:
        """Replace the instance's runtime properties, durably."""
        ...

    def secret(self, name: str) -> str:
        """Return a secret's value.

        Raises:
            NonRecoverableError: when there is no secret of that name.
        """
        ...

    def cut_together(self) -> Sequence[Related]:
        """Return the other instances that the same provider cuts in this execution, for SNAPSHOT.

        Where a platform offers one instant for many, whoever comes first can make it for all of them. Nothing
        where that is not known.
        """
        ...


class Provider(Protocol):
    """Performs operations on one platform.

    One object serves all calls of a process, from many threads at once; it shares connections and may
    combine the waiting of concurrent calls (one list request for all). Contract, tested by
    `quiesce.testing.ProviderContract`:

    - Every operation may run twice, also when the first died half-way: it brings the instance *into a
      state*. Names of made objects derive from instance and restore point, so a repetition finds its own.
    - FREEZE with `Call.thaw_after_s` and the capability `self_thaw` arms the node's own timer *before* it
      freezes. THAW disarms it.
    - THAW returns only when the node is known to be thawed; thawing what is not frozen is fine. It works
      in another process than the freeze, and while the freeze's own call still hangs.
    - THAW and DELETE take effect after whatever is still on its way to the instance.
    - SNAPSHOT returns when the point in time is fixed, no later. Moving data belongs to COPY.
    - APPLY refuses what is damaged before it touches the instance.
    - APPLY of a kind that can REVERT keeps what it replaces, before it replaces it: of restores that have not
      been CONFIRMed, the first state. CONFIRM lets go of what earlier restores have replaced, REVERT puts the
      state `Parameters.undo_to` in place and keeps the other one. No operation removes what is in use.
    - DELETE works on finished and incomplete objects, with and without `Call.artifact`, and also when
      nothing is there. It never touches an object that quiesce did not make, nor, with `Call.undo`, one
      that another execution made.
    - It raises `ProviderError` (and its kinds) only, and stops by itself when `Context.remaining_s` is 0.
    """

    def perform(self, call: Call, context: Context) -> Outcome:
        """Perform one operation and return when its effect is there."""
        ...

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Tell whether *call*'s instance is frozen now; None when that cannot be known."""
        ...

    def close(self) -> None:
        """Release connections. The provider is not used afterwards."""
        ...


def no_secret(name: str) -> str:
    """Say that there is no secret *name*.

    Raises:
        NonRecoverableError: always.
    """
    raise NonRecoverableError(f"there is no secret {name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """What a provider's factory is given."""

    #: private directory of this provider for state that must outlive the process; made when first used
    state_dir: str
    #: default repository for full backups: a directory's path, or a URL
    repository: str
    #: the file with the keys of this home, which open its repositories; what lies beside it is the home's
    keys_file: str = ""
    #: gives the value of a secret that a repository's URL names
    secret: Callable[[str], str] = no_secret


ProviderFactory: TypeAlias = Callable[[ProviderSettings], Provider]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that ``quiesce doctor`` found out about one instance."""

    #: short name of what was checked: ``agent``, ``space``
    check: str
    passed: bool
    detail: str
    #: what to do about it, when it did not pass
    remedy: str = ""


@runtime_checkable
class Doctor(Protocol):
    """A provider that can tell beforehand whether an instance can be frozen, snapshotted, thawed."""

    def doctor(self, call: Call, context: Context) -> Sequence[Finding]:
        """Return every check made, passed or not; changes nothing."""
        ...


@runtime_checkable
class Verifier(Protocol):
    """A provider that can check a stored artifact without restoring it."""

    def verify(self, call: Call, context: Context) -> Proof | None:
        """Check `Call.artifact` against its checksums; reads everything, changes nothing.

        None: there is nothing that could be checked without restoring it.
        """
        ...


@runtime_checkable
class FormerStateKeeper(Protocol):
    """A provider that keeps what a restore replaces, so that REVERT can undo it."""

    def former_state(self, call: Call, context: Context) -> FormerState | None:
        """Return what is kept of *call*'s instance; None: nothing. Quick: it changes and reads no data."""
        ...


@runtime_checkable
class UsageTeller(Protocol):
    """A provider that can tell who uses what a restore would replace."""

    def used_by(self, call: Call, context: Context) -> Mapping[int, str]:
        """Return the processes that stand in the way of replacing it, each for people; changes nothing."""
        ...

    def ended_by_stop(self, call: Call, context: Context) -> Collection[int]:
        """Return the processes that a STOP would end; changes nothing."""
        ...


@runtime_checkable
class TargetInspector(Protocol):
    """A provider that can tell beforehand what an APPLY, a REVERT or an EXTRACT would meet."""

    def inspect_target(self, call: Call, context: Context) -> RestoreTarget:
        """Look at what *call* would replace, or write to; changes nothing."""
        ...


@runtime_checkable
class CutMeasurer(Protocol):
    """A provider that can tell beforehand how much a SNAPSHOT has to take while things are frozen."""

    def cut_size(self, call: Call, context: Context) -> CutSize | None:
        """Count it, reading no data and changing nothing; None: the cut grows with nothing."""
        ...


@runtime_checkable
class RepositoryUser(Protocol):
    """A provider that keeps full backups as files, in a directory repository."""

    def repository(self, call: Call) -> str:
        """Return the path of the repository of *call*'s instance; touches nothing."""
        ...


@runtime_checkable
class Browser(Protocol):
    """A provider that can look into what it has stored, file by file, without restoring it."""

    def entries(self, call: Call, context: Context, below: bytes) -> StoredListing:
        """Return what is in the directory *below* of `Call.artifact`; empty: its root.

        Raises:
            ResourceNotFoundError: when there is no such directory.
            DamagedArtifactError: when it is not what was written.
            UnsupportedError: when there are no files in this kind of node.
        """
        ...

    def extract_file(self, call: Call, context: Context, path: bytes, target: int) -> None:
        """Write the content of the file *path* to the open, empty file *target*.

        What is in it counts only when this has returned.

        Raises:
            ResourceNotFoundError, DamagedArtifactError, UnsupportedError: as `entries`.
        """
        ...


@runtime_checkable
class PlaceTeller(Protocol):
    """A provider whose nodes save files of this machine, and that can tell which."""

    def place(self, call: Call) -> str:
        """Return the path that *call*'s instance saves and replaces, links followed; empty: none."""
        ...


@runtime_checkable
class Discoverer(Protocol):
    """A provider that can write a blueprint of what runs on its platform."""

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint as plain data, ready to be written as YAML.

        A ``description`` says what could not be looked at, and what is to be decided: one remark a line.
        """
        ...
