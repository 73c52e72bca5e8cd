"""What a restore or an extraction would meet on this machine, before anything is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from quiesce.errors import ProviderError, ResourceNotFoundError
from quiesce.files.content import share_content
from quiesce.files.durable import storage_errors
from quiesce.model.operation import Operation
from quiesce.model.target import RestoreTarget, TargetProblem
from quiesce.providers.host.extracting import why_not_extracted
from quiesce.providers.host.job import HostJob
from quiesce.providers.host.snapshot_dir import ELSEWHERE


def inspect_path(job: HostJob) -> RestoreTarget:
    """Look at the node's path: links to it, what is mounted in it, room beside it."""
    snapshots = job.snapshots
    problems = []
    with storage_errors(f"look at {snapshots.path}"):
        for check in (
            lambda: job.refuse_frozen_ground(job.path),
            snapshots.require_exchangeable,
            _allowed(job),
            _leading_somewhere(snapshots.path),
        ):
            problems += _problem_of(check)
        return RestoreTarget(
            problems=tuple(problems),
            needed_bytes=_needed_bytes(job) if job.call.operation is Operation.APPLY else None,
            free_bytes=_free_bytes(_ground(snapshots.path)),
            room=str(_ground(snapshots.path).stat().st_dev),
        )


def inspect_place(job: HostJob) -> RestoreTarget:
    """Look at the directory below which it is to be written."""
    reason = why_not_extracted(job)
    ground = _ground(Path(job.call.parameters.target))
    remedy = "Choose another target, or remove what is there."
    return RestoreTarget(
        problems=(TargetProblem(code="target", detail=reason, remedy=remedy),) if reason else (),
        needed_bytes=_size_bytes(job),
        free_bytes=_free_bytes(ground),
        room=str(ground.stat().st_dev),
    )


def _allowed(job: HostJob) -> Callable[[], None]:
    def require() -> None:
        if reason := job.snapshots.why_not_used():
            raise ResourceNotFoundError(reason, hint=ELSEWHERE)

    return require


def _leading_somewhere(path: Path) -> Callable[[], None]:
    def require() -> None:
        for link in (path, *path.parents):
            if link.is_symlink() and not link.exists():
                raise ResourceNotFoundError(
                    f"{link} is a link that leads nowhere", hint="Mount or make what it leads to."
                )

    return require


def _problem_of(check: Callable[[], None]) -> list[TargetProblem]:
    try:
        check()
    except ProviderError as error:
        return [TargetProblem(code=error.code, detail=str(error), remedy=error.hint)]
    return []


def _needed_bytes(job: HostJob) -> int | None:
    """Return what is written beside the present state: nothing where a snapshot's data can be shared."""
    ground = _ground(job.path)
    if not job.call.full and job.call.origin is None and can_share(ground):
        return None
    return _size_bytes(job)


def _size_bytes(job: HostJob) -> int | None:
    artifact = job.call.artifact or {}
    sizes = (artifact.get(name) for name in ("allocated_bytes", "size_bytes"))
    return next((size for size in sizes if isinstance(size, int)), None)


def _ground(path: Path) -> Path:
    """Return the nearest directory above *path* that is there."""
    ground = path.parent
    while not ground.is_dir():
        ground = ground.parent
    return ground


def _free_bytes(ground: Path) -> int:
    space = os.statvfs(ground)
    return space.f_bavail * space.f_frsize


def can_share(directory: Path) -> bool:
    """Tell whether files in *directory*'s file system can share their data; leaves nothing behind."""
    try:
        one, other = (os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600) for _ in range(2))
    except OSError:
        return False
    try:
        os.pwrite(one, bytes(4096), 0)
        return share_content(one, other)
    finally:
        os.close(one)
        os.close(other)
