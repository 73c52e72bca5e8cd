"""Full copies as files: each disk a stream-optimised VMDK in the repository, complete in itself.

Where changed block tracking is on and an earlier copy of the same disk lies in the repository, only what
has changed since then is read from vSphere; the rest is taken from that copy. The result is as complete
as any other, so that copies can be removed in any order.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    NonRecoverableError,
    OperationTimeoutError,
    RecoverableError,
    UnsupportedError,
    UsageError,
)
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, Json
from quiesce.model.restore_point import Proof
from quiesce.providers.vsphere import vmdk
from quiesce.providers.vsphere.center import Area, Disk, ExportLease, Machine, Snapshot
from quiesce.providers.vsphere.exported import ExportedSource
from quiesce.providers.vsphere.hashes import Sha1Tee
from quiesce.providers.vsphere.job import Job
from quiesce.repository import Draft, Manifest

_PROVIDER: Final = "vsphere"
_PIECE_BYTES: Final = 4 << 20


def begin(job: Job) -> Draft:
    """Take the place in the repository, or take up what this execution had begun there.

    Raises:
        ForeignObjectError: when something else is there; it was not touched.
    """
    return job.repository.begin(job.place, execution=job.call.execution, provider=_PROVIDER)


def finished(job: Job) -> Mapping[str, Json] | None:
    """Return the artifact of the copy that this execution has completed already.

    Raises:
        ForeignObjectError: when another execution made it.
    """
    manifest = job.repository.find(job.place)
    if manifest is None:
        return None
    if manifest.execution != job.call.execution:
        raise ForeignObjectError(
            f"{job.place.point} of {job.call.instance} exists already, made by execution {manifest.execution}"
        )
    return manifest.content


def copy(job: Job, machine: Machine, snapshot: Snapshot) -> Mapping[str, Json]:
    """Copy every disk of *snapshot*; disks that an earlier attempt finished are not read again."""
    draft = begin(job)
    left_out = job.artifact.get("left_out")
    left_out = left_out if isinstance(left_out, list) else []
    disks = [disk for disk in job.center.disks_at(snapshot.id) if disk.label not in left_out]
    copying = _Copying(job, machine, snapshot, draft, sum(disk.capacity_bytes for disk in disks))
    copying.run([disk for disk in disks if _file(disk) not in draft.finished])
    manifest = draft.complete(
        function=job.call.function,
        consistency=Consistency[str(job.artifact.get("worth", "crash")).upper()],
        cut_at=_number(job.artifact.get("cut_at")),
        made_at=time.time(),
        content={
            **job.artifact,
            "objects": [],
            "disks": [_described(disk) for disk in disks],
            "read_bytes": copying.read_bytes,
        },
    )
    return manifest.content


def source(job: Job) -> ExportedSource:
    """Return the checked copy, ready to be restored from.

    Raises:
        ResourceNotFoundError: when there is no complete copy.
        DamagedArtifactError: when it is not what was written.
    """
    manifest = job.repository.manifest(job.place)
    damages = job.repository.verify(manifest)
    if damages:
        raise DamagedArtifactError("; ".join(f"{damage.path}: {damage.reason}" for damage in damages))
    return ExportedSource(job=job, manifest=manifest)


def delete(job: Job) -> None:
    """Remove the copy or the draft; what somebody else made is left alone."""
    try:
        if job.call.undo:
            _refuse_others(job)
        job.repository.delete(job.place)
    except ForeignObjectError as error:
        job.warn(f"left alone: {error}")


def verify(job: Job) -> Proof:
    """Read every byte of the copy and compare the checksums."""
    manifest = job.repository.manifest(job.place)
    damages = job.repository.verify(manifest)
    detail = "; ".join(f"{damage.path}: {damage.reason}" for damage in damages)
    return Proof(at=time.time(), kind="checksums", passed=not damages, detail=detail)


class _Copying:
    """One run over the disks of one machine."""

    def __init__(
        self, job: Job, machine: Machine, snapshot: Snapshot, draft: Draft, total_bytes: int
    ) -> None:
        self.read_bytes = 0
        self._job = job
        self._machine = machine
        self._snapshot = snapshot
        self._draft = draft
        self._total_bytes = total_bytes
        self._done_bytes = 0

    def run(self, disks: Sequence[Disk]) -> None:
        base = _newest_base(self._job, self._machine)
        whole = [disk for disk in disks if base is None or not self._copied_changes(disk, base)]
        if not whole:
            return
        with self._job.center.export(self._machine.id, self._snapshot.id) as lease:
            for disk in whole:
                self._copy_whole(disk, lease)

    def _copied_changes(self, disk: Disk, base: Manifest) -> bool:
        """Tell whether the disk could be put together from *base* and what has changed."""
        since = _change_id(base, disk)
        if since is None or disk.change_id is None:
            return False
        try:
            areas = self._job.center.changed(self._machine.id, self._snapshot.id, disk, since)
            self._write_merged(disk, base, areas)
        except (UnsupportedError, DamagedArtifactError) as error:
            self._job.warn(f"{disk.label} of {self._machine.name} is read whole: {error}")
            return False
        return True

    def _write_merged(self, disk: Disk, base: Manifest, areas: Sequence[Area]) -> None:
        changed = self._changed_grains(disk, areas)
        with (
            self._draft.create(_file(disk)) as out,
            self._job.repository.open(base, _file(disk)) as stored,
        ):
            reader = vmdk.Reader(self._watched(_pieces_of(stored)))
            vmdk.write_disk(out, disk.capacity_bytes, vmdk.merge(reader.grains(), changed))
            stored.check()

    def _changed_grains(self, disk: Disk, areas: Sequence[Area]) -> Iterator[vmdk.Grain]:
        for area in _aligned(areas, disk.capacity_bytes):
            plain = self._job.center.read(disk, area)
            if len(plain) != area.length:
                raise RecoverableError(f"{disk.file} gave {len(plain)} bytes instead of {area.length}")
            self._count(len(plain))
            yield from vmdk.grains_of(area.start, plain)

    def _copy_whole(self, disk: Disk, lease: ExportLease) -> None:
        tee = Sha1Tee()
        with self._draft.create(_file(disk)) as out, lease.open(disk.key) as pieces:
            counted = self._counted(self._watched(pieces))
            reader = vmdk.Reader(tee.through(counted, out))
            for _ in reader.grains():
                continue
            tee.drain()
            _compare(disk, reader.capacity_bytes, tee.hexdigest(), lease.sha1(disk.key))

    def _watched(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self._job.context.given_up() or self._job.context.remaining_s() <= 0:
                raise OperationTimeoutError(f"the copy of {self._machine.name} was not finished in time")
            yield piece

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._count(len(piece))
            yield piece

    def _count(self, size_bytes: int) -> None:
        self.read_bytes += size_bytes
        self._job.context.progress(self.read_bytes, self._total_bytes)


def _compare(disk: Disk, capacity_bytes: int, sha1: str, told: str | None) -> None:
    if capacity_bytes != disk.capacity_bytes:
        raise RecoverableError(f"{disk.label} came with {capacity_bytes} bytes, not {disk.capacity_bytes}")
    if told is not None and told != sha1:
        raise RecoverableError(f"{disk.label} did not arrive as vSphere sent it: the checksums differ")


def _newest_base(job: Job, machine: Machine) -> Manifest | None:
    """Return the newest complete copy of the same machine that changes can be added to."""
    if not machine.change_tracking:
        return None
    known = (manifest for manifest in _earlier(job) if manifest.content.get("uuid") == machine.uuid)
    return max(known, key=lambda manifest: manifest.made_at, default=None)


def _earlier(job: Job) -> Iterator[Manifest]:
    """Return the other copies of this instance; those that cannot be trusted are passed over."""
    for point in sorted((job.repository.root / job.call.deployment).glob("[!.]*")):
        place = replace(job.place, point=BackupName(point.name))
        with contextlib.suppress(DamagedArtifactError, NonRecoverableError, UsageError):
            manifest = job.repository.find(place)
            if manifest is not None and manifest.provider == _PROVIDER and place != job.place:
                yield manifest


def _change_id(base: Manifest, disk: Disk) -> str | None:
    disks = base.content.get("disks")
    for known in disks if isinstance(disks, list) else []:
        if isinstance(known, dict) and _same_disk(known, disk) and known.get("change_id"):
            return str(known["change_id"])
    return None


def _same_disk(known: Mapping[str, Json], disk: Disk) -> bool:
    described = _described(disk)
    return all(known.get(name) == described[name] for name in ("key", "capacity_bytes"))


def _described(disk: Disk) -> dict[str, Json]:
    return {
        "key": disk.key,
        "label": disk.label,
        "capacity_bytes": disk.capacity_bytes,
        "change_id": disk.change_id,
        "file": _file(disk),
    }


def _refuse_others(job: Job) -> None:
    """Raise `ForeignObjectError` unless this very execution made what is there."""
    if finished(job) is None:
        begin(job)


def _aligned(areas: Sequence[Area], capacity_bytes: int) -> Iterator[Area]:
    """Return *areas* widened to whole grains, in pieces, each grain once, in ascending order."""
    at = 0
    for area in sorted(areas, key=lambda one: one.start):
        start = max(at, area.start // vmdk.GRAIN * vmdk.GRAIN)
        end = min(capacity_bytes, -(-(area.start + area.length) // vmdk.GRAIN) * vmdk.GRAIN)
        while start < end:
            length = min(_PIECE_BYTES, end - start)
            yield Area(start=start, length=length)
            start += length
        at = max(at, end)


def _pieces_of(stored: object) -> Iterator[bytes]:
    read = stored.read  # type: ignore[attr-defined]
    while piece := read(1 << 20):
        yield piece


def _file(disk: Disk) -> str:
    return f"disk-{disk.key}.vmdk"


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) else None
