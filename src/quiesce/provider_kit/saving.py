"""One instance's full copy in a repository: made before, begun, completed, verified, removed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from quiesce.backups import Backups, Draft, Manifest
from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    OperationTimeoutError,
    RecoverableError,
    ResourceNotFoundError,
)
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.restore_point import Proof
from quiesce.ports import Context
from quiesce.provider_kit.job import Job
from quiesce.provider_kit.ownership import maker_of


class Saving:
    """The copy that a call is about. Every method may be called again after a crash."""

    def __init__(self, job: Job, repository: Backups, provider: str) -> None:
        self.repository = repository
        self._job = job
        self._provider = provider

    def made_before(self) -> Manifest | None:
        """Return the copy that this execution has completed already; None when it is still to be made.

        Raises:
            ForeignObjectError: when another execution, or somebody else, made what is there.
        """
        return self.repository.made_before(self._job.place, self._job.call.execution)

    def made_before_cut(self) -> Manifest | None:
        """Return the same within a frozen window; None where to ask takes a network's time: copying asks."""
        return self.made_before() if self.repository.is_local else None

    def begin(self) -> Draft:
        """Take the place in the repository, or take up what this execution had begun there.

        Raises:
            ForeignObjectError: when something else is there; it was not touched.
        """
        call = self._job.call
        return self.repository.begin(self._job.place, execution=call.execution, provider=self._provider)

    def complete(
        self,
        draft: Draft,
        content: Mapping[str, Json],
        *,
        consistency: Consistency,
        cut_at: float | None = None,
        note: str = "",
    ) -> Manifest:
        """Write the manifest, last of all: the copy counts from then on."""
        return draft.complete(
            function=self._job.call.function,
            consistency=consistency,
            cut_at=cut_at,
            made_at=time.time(),
            content=content,
            note=note,
        )

    def manifest(self) -> Manifest:
        """Return the copy's manifest: the very one that the catalog knows, when it knows one.

        Raises:
            ResourceNotFoundError: when there is no complete copy.
            DamagedArtifactError: when there is one that cannot be trusted.
        """
        known = self._job.call.artifact
        return self.repository.manifest(
            self._job.place, known if known is not None and "files" in known else None
        )

    def checked(self) -> Manifest:
        """Return the copy's manifest after every byte was read and compared.

        Raises:
            ResourceNotFoundError: when there is no complete copy.
            DamagedArtifactError: when it is not what was written.
        """
        manifest = self.manifest()
        total = manifest.size_bytes
        damages = self.repository.verify(manifest, watched(self._job.context, total))
        self._job.context.progress(total, total)  # what is alike was read once
        if damages:
            raise DamagedArtifactError("; ".join(damages))
        return manifest

    def verify(self) -> Proof:
        """Read every byte, and see that it is what was written."""
        return proof_of("checksums", self._read_all)

    def remove(self) -> str:
        """Remove the copy or what was begun of it; return a note about what is somebody else's.

        Raises:
            UnreachableError: when there is a copy, but its repository is not there (not mounted, say).
        """
        call = self._job.call
        if call.full and "files" in (call.artifact or {}) and not call.undo:
            self.repository.require(call.artifact)
        try:
            kept_s = self.repository.delete(self._job.place, made_by=maker_of(self._job.call))
        except ForeignObjectError as error:
            return f"{error}; it was left alone"
        if kept_s is not None and not call.undo:
            self._job.say(f"it is kept aside for {kept_s / 3600:g} h; collecting after that makes room")
        return ""

    def _read_all(self) -> str:
        manifest = self.checked()
        return f"{len(manifest.items)} items, {manifest.size_bytes} bytes read"


def proof(kind: str, *, damage: str = "", detail: str = "") -> Proof:
    """Return the result of a check of now; it has passed when there is no *damage*."""
    return Proof(at=time.time(), kind=kind, passed=not damage, detail=damage or detail)


def proof_of(kind: str, check: Callable[[], str]) -> Proof:
    """Return the result of *check*: passed with its answer as the detail, or failed with what it found.

    Raises:
        ProviderError: what *check* raises when nothing was found out (nobody answered, say).
    """
    try:
        return proof(kind, detail=check())
    except (ResourceNotFoundError, DamagedArtifactError) as error:
        return proof(kind, damage=str(error))


def watched(context: Context, total_bytes: int | None = None) -> Callable[[int], None]:
    """Return what is told of bytes moved: it reports progress, and stops the work when nobody waits.

    More than the total is not reported: a repository's own lists are moved, too. Safe from many threads.
    """
    moved = 0
    lock = threading.Lock()

    def advance(size_bytes: int) -> None:
        nonlocal moved
        with lock:
            moved += size_bytes
            context.progress(moved if total_bytes is None else min(moved, total_bytes), total_bytes)
        if context.given_up():
            raise RecoverableError("given up: nobody waits for it any more")
        if context.remaining_s() <= 0:
            raise OperationTimeoutError(f"not done in time ({moved} bytes so far)")

    return advance
