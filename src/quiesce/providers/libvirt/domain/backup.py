"""Full copies of a domain: the cut, and the copying after it.

The cut begins a backup job: from that instant QEMU serves the disks as they are now, whatever the guest
writes. The copy reads them through the job and stores them, checksummed on the way. Names derive from the
restore point, so that any process finds what another one left.

The disks of a domain that is off do not change: its cut remembers them, and its job is begun by the copy, so
that nobody's frozen window has to wait for a QEMU to start.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from quiesce.backups import BackupKey, Draft, Manifest, StoredItem
from quiesce.errors import (
    DamagedArtifactError,
    NonRecoverableError,
    ProviderError,
    RecoverableError,
    UnsupportedError,
)
from quiesce.files.declared import read_declared
from quiesce.files.durable import storage_errors
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.artifact import as_artifact, read_artifact
from quiesce.provider_kit.ownership import Owner
from quiesce.providers.libvirt.client import Domain, DomainState
from quiesce.providers.libvirt.disk import qemu_img
from quiesce.providers.libvirt.disk.serving import served
from quiesce.providers.libvirt.disk.storing import DiskStore, StoredDisk
from quiesce.providers.libvirt.domain import backup_job
from quiesce.providers.libvirt.domain.checkpoints import (
    claim_checkpoint,
    owners_of_checkpoints,
    removable_checkpoint,
    remove_checkpoint,
)
from quiesce.providers.libvirt.domain.domain_xml import DomainDefinition, DomainDisk, read_definition
from quiesce.providers.libvirt.domain.metadata import live_metadata
from quiesce.providers.libvirt.domain.selection import disks_to_save, require_not_encrypted
from quiesce.providers.libvirt.job import LibvirtJob
from quiesce.providers.libvirt.options import BackupMode
from quiesce.providers.libvirt.ownership import object_name

DEFINITION: Final = "domain.xml"
NVRAM: Final = "nvram"
#: how large the file with a firmware's variables may be
_NVRAM_BYTES: Final = 64 << 20
#: the definition with its secrets
SECRETS: Final = "domain.xml.secret"
TPM_NOT_SAVED: Final = (
    "the state of its virtual TPM is not saved: what is sealed to it needs its recovery key elsewhere"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCut:
    """What SNAPSHOT tells COPY, through the artifact."""

    active: bool
    cut_at: float
    #: the checkpoint that the next increment can build on
    checkpoint: str | None = None
    #: the restore point that this one is an increment of
    parent: str | None = None
    #: when the files of a domain that is off were written last, by path; its job is not begun yet
    off: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCopy:
    """What a full copy of a domain holds."""

    domain: str
    uuid: str
    active: bool
    cut_at: float
    checkpoint: str | None
    parent: str | None
    disks: tuple[StoredDisk, ...]
    excluded_disks: tuple[str, ...]
    #: whether it starts with the host
    autostart: bool = False
    has_tpm: bool = False

    def disk(self, target: str) -> StoredDisk | None:
        """Return the disk of that target."""
        return next((disk for disk in self.disks if disk.target == target), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parent:
    """The backup that an incremental one builds on."""

    point: str
    checkpoint: str
    manifest: Manifest

    def item(self, target: str) -> StoredItem | None:
        """Return what is stored of a disk."""
        disk = read_artifact(DomainCopy, self.manifest.content).disk(target)
        return self.manifest.item(disk.item) if disk else None


class DomainBackup:
    """The full copy of one domain that a call is about."""

    def __init__(self, job: LibvirtJob, domain: Domain) -> None:
        self._job = job
        self._domain = domain

    def cut(self) -> Outcome:
        """Fix the point in time: begin the job, and no more."""
        self._job.require_local()
        made = self._job.saving.made_before_cut()
        if made is not None:
            return Outcome(artifact=made.content, note=made.note)
        if backup_job.is_running(self._job, self._domain):
            return Outcome(artifact=as_artifact(self._found_again()))
        if self._domain.state() is DomainState.OFF:
            return self._remember()
        cut, note = self._begin()
        return Outcome(artifact=as_artifact(cut), note=note)

    def copy(self) -> Outcome:
        """Store everything that the job serves, then end the job and write the manifest."""
        made = self._job.saving.made_before() or self._store()
        backup_job.end(self._job, self._domain)
        backup_job.stop_reading(self._domain, self._job.key.point)
        return Outcome(artifact=made.content, note=made.note)

    def clear(self) -> None:
        """Remove the checkpoint, and let the domain be as it was before its disks were read."""
        name, key = removable_checkpoint(self._job, self._domain), self._job.key.point
        if name is not None:
            if self._domain.state() is DomainState.OFF:
                backup_job.start_to_read(self._domain, key)
            remove_checkpoint(self._domain, name)
        backup_job.stop_reading(self._domain, key)

    # -- the cut ----------------------------------------------------------------------------------------

    def _remember(self) -> Outcome:
        """Fix the point in time of a domain that is off."""
        disks = disks_to_save(self._job, read_definition(self._domain.xml()))
        _require_reachable(disks)
        claim_checkpoint(self._job, self._domain)
        cut = DomainCut(active=False, cut_at=time.time(), off=_written(disks))
        return Outcome(
            artifact=as_artifact(cut), note="it is off; its disks are read when the others are thawed"
        )

    def _begin_late(self, written: Mapping[str, int]) -> DomainCut:
        """Begin the job of a domain that was off at the cut, and was not started since by anybody else."""
        key = self._job.key.point
        ours = backup_job.stop_reading(self._domain, key)
        disks = disks_to_save(self._job, read_definition(self._domain.xml()))
        if self._domain.state() is not DomainState.OFF or (not ours and _written(disks) != written):
            raise NonRecoverableError(
                f"{self._domain.name} was off at the cut and was started before its disks were read",
                hint="Make the backup again.",
            )
        if self._domain.has_managed_save():
            self._job.say("a full copy, because its saved memory stays as it is: nothing starts it")
            return DomainCut(active=False, cut_at=time.time(), off=written)
        backup_job.start_to_read(self._domain, key)
        try:
            return self._begin()[0]
        except ProviderError:
            backup_job.stop_reading(self._domain, key)
            raise

    def _begin(self) -> tuple[DomainCut, str]:
        """Begin the job, as an increment where that is possible; return a note where it was not."""
        disks = disks_to_save(self._job, read_definition(self._domain.xml(live=True)))
        _require_reachable(disks)
        follow = self._job.options.backup_mode is BackupMode.INCREMENTAL
        parent = self._prepare_increment(disks) if follow else None
        attempts = _attempts(parent, follow=follow)
        note = ""
        for since, followed in attempts:
            try:
                backup_job.begin(self._job, self._domain, disks, since=since, follow=followed)
            except (NonRecoverableError, UnsupportedError) as error:
                if (since, followed) == attempts[-1]:
                    raise
                note = f"a full copy, because an incremental one is not possible: {error}"
                continue
            if note:
                self._job.say(note)
            return self._cut_now(parent.point if since and parent else None, followed=followed), note
        raise AssertionError("the last attempt returns or raises")

    def _cut_now(self, parent: str | None, *, followed: bool) -> DomainCut:
        return DomainCut(
            active=live_metadata(self._domain).started is None,
            cut_at=time.time(),
            checkpoint=self._job.object_name if followed else None,
            parent=parent,
        )

    def _prepare_increment(self, disks: Sequence[DomainDisk]) -> _Parent | None:
        """Return the newest backup whose checkpoint is still followed and whose data are there."""
        claim_checkpoint(self._job, self._domain)
        known = owners_of_checkpoints(self._domain)
        if known.pop(self._job.object_name, None) is not None:
            remove_checkpoint(self._domain, self._job.object_name)
        for name, owner in reversed(known.items()):
            found = self._copy_of(owner)
            if owner is not None and found is not None and self._can_follow(found, disks):
                return _Parent(point=owner.point, checkpoint=name, manifest=found)
        return None

    def _copy_of(self, owner: Owner | None) -> Manifest | None:
        """Return the copy whose checkpoint is of *owner*; None when it is another instance's, or gone."""
        call = self._job.call
        if owner is None or (owner.deployment, owner.instance) != (call.deployment, call.instance):
            return None
        try:
            found = self._job.repository.find(self._place_of(owner.point))
        except DamagedArtifactError as error:
            self._job.say(f"nothing is built on it: {error}")
            return None
        # of another execution: a copy of that name in another repository, of another moment
        return found if found is not None and found.execution == owner.execution else None

    def _can_follow(self, found: Manifest, disks: Sequence[DomainDisk]) -> bool:
        if found.provider != "libvirt":
            return False
        copy = read_artifact(DomainCopy, found.content)
        return copy.uuid == self._domain.uuid and all(copy.disk(disk.target) for disk in disks)

    def _found_again(self) -> DomainCut:
        """Return the cut whose answer was lost, from the job that it began."""
        told = self._domain.backup_xml() or ""
        known = owners_of_checkpoints(self._domain)
        parents = (
            owner.point
            for name, owner in known.items()
            if owner is not None and f"<incremental>{name}</incremental>" in told
        )
        return self._cut_now(next(parents, None), followed=self._job.object_name in known)

    # -- the copy ---------------------------------------------------------------------------------------

    def _store(self) -> Manifest:
        cut = self._with_job()
        definition = read_definition(self._domain.xml(live=True))
        saving, parent = self._job.saving, self._parent_named(cut.parent)
        draft = saving.begin()
        store = DiskStore(self._job, draft, self._look)
        disks = disks_to_save(self._job, definition)
        stored = tuple(self._store_disk(store, disk, parent, direct=cut.off is not None) for disk in disks)
        if cut.off is not None and (
            self._domain.state() is not DomainState.OFF or _written(disks) != cut.off
        ):
            raise NonRecoverableError(
                f"{definition.name} was started while its disks were read, so the copy is worth nothing",
                hint="Make the backup again.",
            )
        self._store_definition(definition, draft)
        content = DomainCopy(
            domain=definition.name,
            uuid=definition.uuid,
            active=cut.active,
            cut_at=cut.cut_at,
            checkpoint=cut.checkpoint,
            parent=cut.parent,
            disks=stored,
            excluded_disks=tuple(sorted(self._job.options.exclude_disks)),
            autostart=self._domain.is_persistent() and self._domain.autostart(),
            has_tpm=definition.has_tpm,
        )
        return saving.complete(
            draft,
            as_artifact(content),
            consistency=Consistency.CRASH,
            cut_at=cut.cut_at,
            note=TPM_NOT_SAVED if definition.has_tpm else "",
        )

    def _store_definition(self, definition: DomainDefinition, draft: Draft) -> None:
        """Store the definition as everybody may read it, and the one with passwords, if it has any."""
        plain, whole = self._domain.xml(), self._domain.xml(secrets=True)
        if DEFINITION not in draft.finished:
            with draft.create(DEFINITION) as out:
                out.write(plain.encode())
        if whole != plain and SECRETS not in draft.finished:
            with draft.create(SECRETS) as out:
                out.write(whole.encode())
        if definition.nvram and NVRAM not in draft.finished and Path(definition.nvram).is_file():
            with draft.create(NVRAM) as out, storage_errors(f"read {definition.nvram}"):
                out.write(read_declared(Path(definition.nvram), at_most=_NVRAM_BYTES))

    def _with_job(self) -> DomainCut:
        """Return what the cut said of the job that runs now, or what the job tells when that was lost."""
        told = self._job.call.artifact
        cut = read_artifact(DomainCut, told) if told is not None else None
        if backup_job.is_running(self._job, self._domain):
            now = cut if cut is not None and cut.off is None else self._found_again()
        elif cut is not None and cut.off is not None:
            now = self._begin_late(cut.off)
        else:
            raise NonRecoverableError(
                f"the backup job of {self._domain.name} is gone: "
                "the domain was stopped, or somebody ended the job",
                hint="Make the backup again.",
            )
        return now if cut is None else replace(now, cut_at=cut.cut_at)

    def _store_disk(
        self, store: DiskStore, disk: DomainDisk, parent: _Parent | None, *, direct: bool
    ) -> StoredDisk:
        """Store one disk, *direct* from its file when no job serves it; return what the manifest says."""
        previous = parent.item(disk.target) if parent else None
        since = backup_job.bitmap_of(parent.checkpoint) if parent else None
        socket = backup_job.socket_path(self._job)
        with self._served(disk, socket) if direct else contextlib.nullcontext():
            size_bytes = store.store(socket, disk.target, disk.target, since=since, previous=previous)
        return StoredDisk(
            target=disk.target, path=disk.path, format=disk.format, size_bytes=size_bytes, item=disk.target
        )

    def _served(self, disk: DomainDisk, socket: Path) -> contextlib.AbstractContextManager[None]:
        """Serve a disk that nobody writes to, once the formats of all that it is read through are known."""
        qemu_img.chain(disk.path, disk.format)
        return served(self._job, disk.path, disk.format, socket, disk.target)

    def _parent_named(self, point: str | None) -> _Parent | None:
        if point is None:
            return None
        manifest = self._job.repository.find(self._place_of(point))
        if manifest is None:
            raise NonRecoverableError(
                f"backup {point}, whose changes this one reads, was removed while it was made",
                hint="Make the backup again; it will be a full one.",
            )
        checkpoint = object_name(replace(self._job.owner, point=point))
        return _Parent(point=point, checkpoint=checkpoint, manifest=manifest)

    def _place_of(self, point: str) -> BackupKey:
        return replace(self._job.place, point=BackupName(point))

    def _look(self) -> None:
        """End a copy whose job has stopped the guest."""
        if self._domain.state() is DomainState.STUCK:
            raise RecoverableError(
                f"{self._domain.name} is paused: its guest overwrites more than the scratch file can hold",
                hint=f"Make room in {self._job.options.scratch_dir}, or set scratch_dir to another disk.",
            )


def _require_reachable(disks: Sequence[DomainDisk]) -> None:
    """Return when every disk can be put back by us as it was, so that its backup is worth something."""
    require_not_encrypted(disks)
    others = [f"{disk.target} ({disk.kind})" for disk in disks if disk.kind not in {"file", "block"}]
    if others:
        raise UnsupportedError(
            f"the disks {', '.join(others)} are neither files nor block devices of this machine",
            hint="Name them in exclude_disks, and save them where they lie.",
        )


def _written(disks: Sequence[DomainDisk]) -> dict[str, int]:
    """Return when each disk that is a file was written last, by its path."""
    with storage_errors("look at the disks"):
        return {disk.path: Path(disk.path).stat().st_mtime_ns for disk in disks if disk.kind == "file"}


def _attempts(parent: _Parent | None, *, follow: bool) -> list[tuple[str | None, bool]]:
    """Return what to ask for, the best first: since which checkpoint, and whether to make a new one."""
    wanted = [(parent.checkpoint, follow)] if parent else []
    return list(dict.fromkeys([*wanted, (None, follow), (None, False)]))
