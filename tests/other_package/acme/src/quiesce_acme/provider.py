"""Answers the provider port with directories."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from quiesce.errors import ResourceNotFoundError
from quiesce.model.call import Call
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Context, Finding, ProviderSettings
from quiesce.provider_kit.dispatch import CheckedOperations, PlatformProvider, unsupported
from quiesce.provider_kit.job import Job
from quiesce.provider_kit.saving import proof
from quiesce_acme import DESCRIPTION


class AcmeProvider(PlatformProvider[Job]):
    """One for all boxes."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings
        super().__init__(DESCRIPTION, {"box": Box()})

    def job(self, call: Call, context: Context) -> Job:
        """Return the call; there is nothing to choose."""
        return Job(call=call, context=context)

    def close(self) -> None:
        """Nothing to give back."""


class Box(CheckedOperations[Job]):
    """What a box does."""

    suspend = unsupported
    resume = unsupported
    copy = unsupported
    stop = unsupported
    start = unsupported
    probe = unsupported
    prepare = unsupported
    revert = unsupported
    confirm = unsupported
    extract = unsupported

    def freeze(self, job: Job, /) -> Outcome:
        """Mark it as frozen."""
        (self._box(job) / "frozen").touch()
        return NOTHING

    def thaw(self, job: Job, /) -> Outcome:
        """Take the mark away."""
        (self._box(job) / "frozen").unlink(missing_ok=True)
        return NOTHING

    def snapshot(self, job: Job, /) -> Outcome:
        """Copy the content."""
        point = self._point(job)
        point.parent.mkdir(exist_ok=True)
        if not point.exists():
            shutil.copy2(self._box(job) / "content", point)
        return Outcome(artifact={"objects": [point.name]})

    def apply(self, job: Job, /) -> Outcome:
        """Copy it back."""
        if not self._point(job).exists():
            raise ResourceNotFoundError(f"there is no {self._point(job)}")
        shutil.copy2(self._point(job), self._box(job) / "content")
        return NOTHING

    def delete(self, job: Job, /) -> Outcome:
        """Remove the copy."""
        self._point(job).unlink(missing_ok=True)
        return NOTHING

    def measure(self, job: Job, /) -> Outcome:
        """Return the size."""
        return Outcome(measurements={"content_bytes": (self._box(job) / "content").stat().st_size})

    def is_frozen(self, job: Job, /) -> bool | None:
        """Look for the mark."""
        return (self._box(job) / "frozen").exists()

    def doctor(self, job: Job, /) -> Sequence[Finding]:
        """Look for the box."""
        path = self._box(job)
        return [Finding(check="box", passed=path.is_dir(), detail=f"the box is at {path}")]

    def verify(self, job: Job, /) -> Proof:
        """Look for the copy."""
        point = self._point(job)
        return proof("presence", damage="" if point.exists() else f"{point} is gone")

    def _box(self, job: Job) -> Path:
        return Path(str(job.call.properties["path"]))

    def _point(self, job: Job) -> Path:
        return self._box(job) / "points" / f"{job.call.instance}-{job.point}"
