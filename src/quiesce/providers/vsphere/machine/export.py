"""Full copies as files: each disk a stream-optimised VMDK in the repository, complete in itself.

Where changed block tracking is on and an earlier copy of the same disk lies in the repository, only what
has changed since then is read from vSphere; the rest is taken from that copy. The result is as complete
as any other, so that copies can be removed in any order.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import IO, Final, cast

from quiesce.backups import Draft, Manifest
from quiesce.errors import DamagedArtifactError, RecoverableError, UnsupportedError
from quiesce.model.ids import Json
from quiesce.model.restore_point import Proof
from quiesce.provider_kit.artifact import as_artifact, read_artifact
from quiesce.provider_kit.saving import Saving, watched
from quiesce.providers.vsphere import vmdk
from quiesce.providers.vsphere.inventory import MachineSnapshot, VirtualDisk, VirtualMachine
from quiesce.providers.vsphere.job import VSphereJob
from quiesce.providers.vsphere.machine.artifact import BackupArtifact, SavedDisk
from quiesce.providers.vsphere.machine.tracking import EarlierCopy, Tracking, samples
from quiesce.providers.vsphere.vcenter import BuildRequest, DiskArea, DiskUpload, ExportLease

_PROVIDER: Final = "vsphere"
_PIECE_BYTES: Final = 4 << 20


class ExportedCopy:
    """Answers `FullCopy` by files in the repository."""

    def __init__(self, job: VSphereJob) -> None:
        self._job = job
        self._saving = Saving(job, job.repository, _PROVIDER)

    def finished(self) -> Mapping[str, Json] | None:
        """Return the artifact of the copy that this execution has completed already."""
        manifest = self._saving.made_before()
        return manifest.content if manifest is not None else None

    def begin(self) -> None:
        """Take the place in the repository."""
        self._saving.begin()

    def copy(
        self, artifact: BackupArtifact, machine: VirtualMachine, snapshot: MachineSnapshot
    ) -> Mapping[str, Json]:
        """Copy every disk of *snapshot*; disks that an earlier attempt finished are not read again."""
        draft = self._saving.begin()
        held = self._job.vcenter.disks_at(snapshot.id)
        disks = [disk for disk in held if disk.label not in artifact.cut.left_out]
        copying = DiskCopying(self._job, machine, snapshot, draft, disks)
        copying.run()
        done = replace(
            artifact,
            objects=(),
            disks=tuple(copying.saved(disk) for disk in disks),
            read_bytes=copying.read_bytes,
        )
        manifest = self._saving.complete(
            draft, as_artifact(done), consistency=artifact.consistency, cut_at=artifact.cut_at
        )
        return manifest.content

    def checked(self) -> BackupArtifact:
        """Return what was recorded, after every byte was read and compared."""
        return read_artifact(BackupArtifact, self._saving.checked().content)

    def build_machine(
        self, artifact: BackupArtifact, name: str, marks: Mapping[str, str], *, connected: bool
    ) -> str:
        """Build a machine of the stored hardware and disks."""
        job = self._job
        request = BuildRequest(
            name=name,
            marks=marks,
            hardware=artifact.hardware,
            folder_id=artifact.folder,
            folder=job.options.folder,
            pool=artifact.pool,
            datastore=job.options.datastore,
            connected=connected,
        )
        manifest = self._saving.manifest()
        with ExitStack() as stack:
            uploads = {disk.key: self._upload(stack, manifest, disk) for disk in artifact.disks}
            return job.vcenter.build(request, uploads, job.time)

    def verify(self) -> Proof:
        """Read every byte of the copy and compare the checksums."""
        return self._saving.verify()

    def delete(self) -> None:
        """Remove the copy or the draft; what somebody else made is left alone."""
        if note := self._saving.remove():
            self._job.warn(note)

    def _upload(self, stack: ExitStack, manifest: Manifest, disk: SavedDisk) -> DiskUpload:
        stored = stack.enter_context(self._job.repository.open(manifest, disk.file))
        stream = cast("IO[bytes]", io.BufferedReader(stored, 1 << 20))
        size_bytes = manifest.item(disk.file).size_bytes
        return DiskUpload(stream=stream, size_bytes=size_bytes, check=stored.check)


class DiskCopying:
    """One run over the disks of one machine."""

    def __init__(
        self,
        job: VSphereJob,
        machine: VirtualMachine,
        snapshot: MachineSnapshot,
        draft: Draft,
        disks: Sequence[VirtualDisk],
    ) -> None:
        self.read_bytes = 0
        self._job = job
        self._machine = machine
        self._snapshot = snapshot
        self._draft = draft
        self._disks = disks
        self._advance = watched(job.context, sum(disk.capacity_bytes for disk in disks))
        self._tracking = Tracking(job.options, self._earlier_copies(), job.state)
        #: keys of the disks that were read whole in this run
        self._whole: set[int] = set()

    def run(self) -> None:
        """Copy those disks that no earlier attempt has finished."""
        wanted = [disk for disk in self._disks if _file(disk) not in self._draft.finished]
        whole = [disk for disk in wanted if not self._copied_changes(disk)]
        if not whole:
            return
        with self._job.vcenter.export(self._machine.id, self._snapshot.id, self._job.time) as lease:
            for disk in whole:
                self._copy_whole(disk, lease)
                self._whole.add(disk.key)

    def saved(self, disk: VirtualDisk) -> SavedDisk:
        """Return what is recorded of a disk that is copied."""
        return SavedDisk(
            key=disk.key,
            capacity_bytes=disk.capacity_bytes,
            file=_file(disk),
            label=disk.label,
            change_id=disk.change_id,
            merged=0 if disk.key in self._whole else self._tracking.merged(disk),
            doubted=self._tracking.doubted(disk),
        )

    def _earlier_copies(self) -> list[EarlierCopy]:
        """Return the complete copies of the same machine that changes can be added to, newest first."""
        if not self._machine.change_tracking:
            return []
        call = self._job.call
        complete = self._job.repository.of_instance(call.deployment, call.instance)
        found = [
            EarlierCopy(manifest=manifest, artifact=artifact)
            for manifest in complete
            if manifest.provider == _PROVIDER
            and manifest.place != self._job.place
            and (artifact := _artifact_of(manifest)) is not None
            and artifact.cut.uuid == self._machine.uuid
        ]
        return sorted(found, key=lambda copy: copy.manifest.made_at, reverse=True)

    def _copied_changes(self, disk: VirtualDisk) -> bool:
        """Tell whether the disk could be put together from an earlier copy and what has changed."""
        if why := self._tracking.warning(disk):
            self._warn_whole(disk, why)
        base = self._tracking.base(disk)
        if base is None:
            return False
        try:
            areas = self._job.vcenter.changed(self._machine.id, self._snapshot.id, disk, base.change_id)
            self._write_merged(disk, base.manifest, areas)
        except (UnsupportedError, DamagedArtifactError) as error:
            if isinstance(error, DamagedArtifactError):
                self._draft.doubt(base.manifest.item(_file(disk)))
            self._warn_whole(disk, str(error))
            return False
        return True

    def _warn_whole(self, disk: VirtualDisk, why: str) -> None:
        self._job.warn(f"{disk.label} of {self._machine.name} is read whole: {why}")

    def _write_merged(self, disk: VirtualDisk, base: Manifest, areas: Sequence[DiskArea]) -> None:
        changed = self._changed_grains(disk, areas)
        with (
            self._draft.create(_file(disk)) as out,
            self._job.repository.open(base, _file(disk), self._advance) as stored,
        ):
            reader = vmdk.VmdkReader(iter(lambda: stored.read(1 << 20), b""))
            unchanged = self._compared(disk, reader.grains(), samples(areas, disk.capacity_bytes))
            vmdk.write_disk(out, disk.capacity_bytes, vmdk.merge(unchanged, changed))
            stored.check()

    def _compared(
        self, disk: VirtualDisk, grains: Iterable[vmdk.Grain], chosen: frozenset[int]
    ) -> Iterator[vmdk.Grain]:
        """Return *grains*; those that were *chosen* are compared with the snapshot on the way."""
        left = set(chosen)
        for grain in grains:
            if grain.number in left:
                left.remove(grain.number)
                self._compare(disk, grain.number, grain.plain())
            yield grain
        for number in left:  # nothing is stored of them, for they were zero
            self._compare(disk, number, b"")

    def _compare(self, disk: VirtualDisk, number: int, expected: bytes) -> None:
        start = number * vmdk.GRAIN
        area = DiskArea(start=start, length=min(vmdk.GRAIN, disk.capacity_bytes - start))
        if self._job.vcenter.read(disk, area).rstrip(b"\0") != expected.rstrip(b"\0"):
            self._tracking.doubt(disk)
            raise UnsupportedError(f"changed block tracking missed a change at byte {start}")

    def _changed_grains(self, disk: VirtualDisk, areas: Sequence[DiskArea]) -> Iterator[vmdk.Grain]:
        for area in _aligned(areas, disk.capacity_bytes):
            plain = self._job.vcenter.read(disk, area)
            if len(plain) != area.length:
                raise RecoverableError(f"{disk.file} gave {len(plain)} bytes instead of {area.length}")
            self._count(len(plain))
            yield from vmdk.grains_of(area.start, plain)

    def _copy_whole(self, disk: VirtualDisk, lease: ExportLease) -> None:
        with self._draft.create(_file(disk)) as out, lease.open(disk.key) as pieces:
            tee = vmdk.Sha1Tee(self._counted(pieces), out)
            reader = vmdk.VmdkReader(tee)
            for _ in reader.grains():
                continue
            for _ in tee:  # what nobody has read is stored, too
                continue
            _compare(disk, reader.capacity_bytes, tee.hexdigest(), lease.sha1(disk.key))

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._count(len(piece))
            yield piece

    def _count(self, size_bytes: int) -> None:
        self.read_bytes += size_bytes
        self._advance(size_bytes)


def _compare(disk: VirtualDisk, capacity_bytes: int, sha1: str, told: str | None) -> None:
    if capacity_bytes != disk.capacity_bytes:
        raise RecoverableError(f"{disk.label} came with {capacity_bytes} bytes, not {disk.capacity_bytes}")
    if told is not None and told != sha1:
        raise RecoverableError(f"{disk.label} did not arrive as vSphere sent it: the checksums differ")


def _artifact_of(manifest: Manifest) -> BackupArtifact | None:
    """Return what *manifest* says of its copy; None when it cannot be trusted."""
    try:
        return read_artifact(BackupArtifact, manifest.content)
    except DamagedArtifactError:
        return None


def _aligned(areas: Sequence[DiskArea], capacity_bytes: int) -> Iterator[DiskArea]:
    """Return *areas* widened to whole grains, in pieces, each grain once, in ascending order."""
    at = 0
    for area in sorted(areas, key=lambda one: one.start):
        start = max(at, area.start // vmdk.GRAIN * vmdk.GRAIN)
        end = min(capacity_bytes, -(-(area.start + area.length) // vmdk.GRAIN) * vmdk.GRAIN)
        while start < end:
            length = min(_PIECE_BYTES, end - start)
            yield DiskArea(start=start, length=length)
            start += length
        at = max(at, end)


def _file(disk: VirtualDisk) -> str:
    return f"disk-{disk.key}.vmdk"
