"""Full copies of a domain: the cut, the copying after it, and removing them.

The cut begins a backup job: from that instant QEMU serves the disks as they are now, whatever the guest
writes. The copy reads them through the job and stores them, checksummed on the way. Names derive from the
restore point, so that any process finds what another one left.

The disks of a domain that is off do not change: its cut remembers them, and its job is begun by the copy, so
that nobody's frozen window has to wait for a QEMU to start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.errors import (
    ForeignObjectError,
    NonRecoverableError,
    ProviderError,
    RecoverableError,
    UnsupportedError,
)
from quiesce.model.call import Call
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, Json
from quiesce.model.outcome import Outcome
from quiesce.model.records import Level
from quiesce.ports import Context
from quiesce.providers.libvirt import jobs, marks
from quiesce.providers.libvirt.client import Domain, State
from quiesce.providers.libvirt.definition import Definition, Disk, read_definition
from quiesce.providers.libvirt.settings import (
    Settings,
    execution_key,
    key_of,
    object_name,
    place_of,
    point_of,
)
from quiesce.providers.libvirt.storing import DiskStore
from quiesce.repository import BackupKey, Draft, Manifest, Repository, storage_errors

PROVIDER: Final = "libvirt"
DEFINITION: Final = "domain.xml"
NVRAM: Final = "nvram"
_OFF: Final = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The backup that an incremental one builds on."""

    point: str
    checkpoint: str
    manifest: Manifest

    def layers(self, target: str) -> list[str]:
        """Return the stored files of a disk, oldest first."""
        return layers_of(self.manifest.content, target)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """What SNAPSHOT tells COPY, through the artifact."""

    checkpoint: str | None
    parent: str | None
    active: bool
    at: float
    #: when the files of a domain that is off were written last, by path; its job is not begun yet
    off: Mapping[str, Json] | None = None

    def as_json(self) -> dict[str, Json]:
        said: dict[str, Json] = {
            "checkpoint": self.checkpoint,
            "parent": self.parent,
            "active": self.active,
            "cut_at": self.at,
        }
        return said | ({_OFF: dict(self.off)} if self.off is not None else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What a backup job is asked for."""

    call: Call
    settings: Settings
    disks: Sequence[Disk]
    excluded: Sequence[str]

    def begin(self, domain: Domain, since: str | None, checkpoint: str | None) -> None:
        """Begin it; the point in time is fixed when this returns."""
        key, execution, where = key_of(self.call), execution_key(self.call), self.settings.scratch_dir
        mark = jobs.CheckpointMark(
            deployment=self.call.deployment,
            point=point_of(self.call),
            instance=self.call.instance,
            execution=self.call.execution,
        )
        jobs.begin(
            domain,
            self.disks,
            self.excluded,
            socket=jobs.socket_path(where, key, execution),
            scratch=jobs.scratch_paths(where, key, execution, self.disks),
            since=since,
            checkpoint=jobs.checkpoint_xml(checkpoint, mark, self.disks, self.excluded)
            if checkpoint
            else None,
        )


class Backups:
    """Makes and removes full copies in one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def cut(self, domain: Domain, call: Call, settings: Settings, context: Context) -> Outcome:
        """Fix the point in time: begin the job, and no more."""
        require_local(settings)
        made = self._repository.made_before(place_of(call), call.execution)
        if made is not None:
            return Outcome(artifact=made.content, note=made.note)
        if jobs.refuse_others(domain, key_of(call), execution_key(call)):
            return Outcome(artifact=self._found_again(domain, call).as_json())
        cut = self._begin if domain.state() is not State.OFF else self._remember
        return cut(domain, call, settings, context)

    def copy(self, domain: Domain, call: Call, settings: Settings, context: Context) -> Outcome:
        """Store everything that the job serves, then end the job and write the manifest."""
        made = self._repository.made_before(place_of(call), call.execution)
        if made is None:
            made = self._store(domain, call, settings, context)
        self._clear(domain, call, settings)
        return Outcome(artifact=made.content, note=made.note)

    def delete(self, domain: Domain | None, call: Call, settings: Settings, context: Context) -> None:
        """Remove the backup, finished or half-made, with its checkpoint and its job."""
        maker = call.execution if call.undo else None
        jobs.end(domain, settings.scratch_dir, key_of(call), execution_key(call) if call.undo else None)
        if domain is not None:
            self._remove_checkpoint(domain, call)
            jobs.put_back(domain, key_of(call))
        try:
            self._repository.delete(place_of(call), made_by=maker)
        except ForeignObjectError as error:
            context.log(Level.WARNING, f"left alone: {error}")

    # -- the cut ----------------------------------------------------------------------------------------

    def _begin(self, domain: Domain, call: Call, settings: Settings, context: Context) -> Outcome:
        cut, note = self._begin_job(domain, call, settings)
        if note:
            context.log(Level.INFO, note)
        return Outcome(artifact=cut.as_json(), note=note)

    def _remember(self, domain: Domain, call: Call, settings: Settings, context: Context) -> Outcome:
        """Fix the point in time of a domain that is off."""
        del context
        disks, _ = disks_to_save(read_definition(domain.xml()), settings)
        _require_reachable(disks)
        _refuse_foreign_checkpoint(domain, call, jobs.marks_of_checkpoints(domain))
        written = _written(disks)
        cut = _Cut(checkpoint=None, parent=None, active=False, at=time.time(), off=written)
        return Outcome(
            artifact=cut.as_json(), note="it is off; its disks are read when the others are thawed"
        )

    def _begin_late(
        self, domain: Domain, call: Call, settings: Settings, context: Context, written: Mapping[str, Json]
    ) -> _Cut:
        """Begin the job of a domain that was off at the cut, and was not started since by anybody else."""
        ours = jobs.put_back(domain, key_of(call))
        disks, _ = disks_to_save(read_definition(domain.xml()), settings)
        if domain.state() is not State.OFF or (not ours and _written(disks) != written):
            raise NonRecoverableError(
                f"{domain.name} was off at the cut and was started before its disks were read",
                hint="Make the backup again.",
            )
        jobs.wake(domain, key_of(call))
        try:
            cut, note = self._begin_job(domain, call, settings)
        except ProviderError:
            jobs.put_back(domain, key_of(call))
            raise
        if note:
            context.log(Level.INFO, note)
        return cut

    def _begin_job(self, domain: Domain, call: Call, settings: Settings) -> tuple[_Cut, str]:
        definition = read_definition(domain.xml(live=True))
        disks, excluded = disks_to_save(definition, settings)
        _require_reachable(disks)
        name = object_name(call) if settings.backup_mode == "incremental" else None
        parent = self._prepare_increment(domain, call, settings, disks) if name else None
        attempts = _attempts(parent, name)
        note = ""
        for since, checkpoint in attempts:
            try:
                job = _Job(call=call, settings=settings, disks=disks, excluded=excluded)
                job.begin(domain, since, checkpoint)
            except (NonRecoverableError, UnsupportedError) as error:
                if (since, checkpoint) == attempts[-1]:
                    raise
                note = f"a full copy, because an incremental one is not possible: {error}"
                continue
            made_on = parent.point if since and parent else None
            active = not _is_woken(domain)
            return _Cut(checkpoint=checkpoint, parent=made_on, active=active, at=time.time()), note
        raise AssertionError("the last attempt returns or raises")

    def _prepare_increment(
        self, domain: Domain, call: Call, settings: Settings, disks: Sequence[Disk]
    ) -> Parent | None:
        """Return the newest backup whose checkpoint is still followed and whose data are there."""
        known = jobs.marks_of_checkpoints(domain)
        _refuse_foreign_checkpoint(domain, call, known)
        if object_name(call) in known:
            jobs.remove_checkpoint(domain, object_name(call))
        for name, mark in reversed(known.items()):
            if name == object_name(call):
                continue
            if mark is None or (mark.deployment, mark.instance) != (call.deployment, call.instance):
                continue
            place = BackupKey(
                deployment=DeploymentName(mark.deployment),
                point=BackupName(mark.point),
                instance=call.instance,
            )
            found = self._repository.find(place)
            if found is not None and _can_follow(found, domain, disks, settings):
                return Parent(point=mark.point, checkpoint=name, manifest=found)
        return None

    def _found_again(self, domain: Domain, call: Call) -> _Cut:
        """Return the cut whose answer was lost, from the job that it began."""
        job = domain.backup_xml() or ""
        name = object_name(call)
        parent = next(
            (
                mark.point
                for checkpoint, mark in jobs.marks_of_checkpoints(domain).items()
                if mark is not None and f"<incremental>{checkpoint}</incremental>" in job
            ),
            None,
        )
        checkpoint = name if name in domain.checkpoints() else None
        return _Cut(checkpoint=checkpoint, parent=parent, active=not _is_woken(domain), at=time.time())

    # -- the copy ---------------------------------------------------------------------------------------

    def _store(self, domain: Domain, call: Call, settings: Settings, context: Context) -> Manifest:
        artifact = self._with_job(domain, call, settings, context)
        definition = read_definition(domain.xml(live=True))
        disks, excluded = disks_to_save(definition, settings)
        draft = self._repository.begin(place_of(call), execution=call.execution, provider=PROVIDER)
        parent = self._parent_named(call, artifact.get("parent"))
        store = DiskStore(draft, context, compress=settings.compress, look=_looker(domain, settings))
        socket = jobs.socket_path(settings.scratch_dir, key_of(call), execution_key(call))
        stored = [self._store_disk(store, draft, socket, disk, parent) for disk in disks]
        _store_definition(domain, definition, draft)
        content = artifact | {
            "domain": definition.name,
            "uuid": definition.uuid,
            "disks": list(stored),
            "excluded_disks": list(excluded),
        }
        return draft.complete(
            function=call.function,
            consistency=Consistency.CRASH,
            cut_at=_number(artifact.get("cut_at")),
            made_at=time.time(),
            content=content,
        )

    def _with_job(self, domain: Domain, call: Call, settings: Settings, context: Context) -> dict[str, Json]:
        """Return what the cut said of the job that runs now."""
        artifact = dict(call.artifact or {})
        written = artifact.pop(_OFF, None)
        if jobs.refuse_others(domain, key_of(call), execution_key(call)):
            cut = self._found_again(domain, call) if written is not None else None
        elif isinstance(written, dict):
            cut = self._begin_late(domain, call, settings, context, written)
        else:
            raise NonRecoverableError(
                f"the backup job of {domain.name} is gone: the domain was stopped, or somebody ended the job",
                hint="Make the backup again.",
            )
        return cut.as_json() | {"cut_at": artifact.get("cut_at")} if cut else artifact

    def _store_disk(
        self, store: DiskStore, draft: Draft, socket: Path, disk: Disk, parent: Parent | None
    ) -> dict[str, Json]:
        """Store one disk and return what the manifest says about it."""
        older = parent.layers(disk.target) if parent else []
        for layer in older:
            self._link(draft, parent, layer)
        name = store.file_name(disk.target, len(older))
        since = jobs.bitmap_of(parent.checkpoint) if parent else None
        size_bytes = store.store(socket, disk.target, name, since)
        layers: list[Json] = [*older, name]
        return {
            "target": disk.target,
            "path": disk.path,
            "format": disk.format,
            "size_bytes": size_bytes,
            "layers": layers,
        }

    def _link(self, draft: Draft, parent: Parent | None, name: str) -> None:
        """Let the backup hold an older layer itself: one file, in as many backups as need it."""
        if parent is None or name in draft.finished:
            return
        stored, path = parent.manifest.file(name), draft.path(name)
        with storage_errors(f"link {path}"):
            path.unlink(missing_ok=True)
            path.hardlink_to(self._repository.path(parent.manifest, name))
        draft.enter(stored)

    def _parent_named(self, call: Call, point: Json) -> Parent | None:
        if not isinstance(point, str):
            return None
        place = BackupKey(deployment=call.deployment, point=BackupName(point), instance=call.instance)
        manifest = self._repository.find(place)
        if manifest is None:
            raise NonRecoverableError(
                f"backup {point}, which this one builds on, was removed while it was made",
                hint="Make the backup again; it will be a full one.",
            )
        return Parent(point=point, checkpoint=f"{call.instance}-{point}", manifest=manifest)

    def _clear(self, domain: Domain, call: Call, settings: Settings) -> None:
        jobs.end(domain, settings.scratch_dir, key_of(call), execution_key(call))
        jobs.put_back(domain, key_of(call))

    def _remove_checkpoint(self, domain: Domain, call: Call) -> None:
        name = object_name(call)
        mark = jobs.marks_of_checkpoints(domain).get(name)
        ours = mark is not None and (mark.deployment, mark.point) == (call.deployment, point_of(call))
        if mark is None or not ours or (call.undo and mark.execution != call.execution):
            return
        if domain.state() is State.OFF:
            jobs.wake(domain, key_of(call))
        jobs.remove_checkpoint(domain, name)


def _refuse_foreign_checkpoint(
    domain: Domain, call: Call, known: Mapping[str, jobs.CheckpointMark | None]
) -> None:
    name = object_name(call)
    mark = known.get(name)
    if name in known and (mark is None or mark.execution != call.execution):
        raise ForeignObjectError(f"{domain.name} has a checkpoint {name} already")


def _looker(domain: Domain, settings: Settings) -> Callable[[], None]:
    """Return what stops a copy whose job has stopped the guest."""

    def look() -> None:
        if domain.state() is State.STUCK:
            raise RecoverableError(
                f"{domain.name} is paused: what its guest overwrites does not fit into the scratch file",
                hint=f"Make room in {settings.scratch_dir}, or set scratch_dir to another disk.",
            )

    return look


def layers_of(content: Mapping[str, Json], target: str) -> list[str]:
    """Return the stored files of a disk, oldest first, as a manifest's content names them."""
    disks = content.get("disks")
    for disk in disks if isinstance(disks, list) else []:
        if isinstance(disk, dict) and disk.get("target") == target:
            layers = disk.get("layers")
            return [str(layer) for layer in layers] if isinstance(layers, list) else []
    return []


def disks_to_save(definition: Definition, settings: Settings) -> tuple[list[Disk], list[str]]:
    """Return the disks that belong into a backup, and the targets of those left out."""
    unknown = settings.exclude_disks - {disk.target for disk in definition.disks}
    if unknown:
        raise NonRecoverableError(
            f"exclude_disks names {', '.join(sorted(unknown))}, which {definition.name} does not have"
        )
    kept = [disk for disk in definition.disks if disk.target not in settings.exclude_disks]
    if not kept:
        raise UnsupportedError(f"{definition.name} has no disk that could be saved")
    return kept, sorted(settings.exclude_disks)


def _require_reachable(disks: Sequence[Disk]) -> None:
    """Return when every disk can be put back by us, so that its backup is worth something."""
    others = [f"{disk.target} ({disk.kind})" for disk in disks if disk.kind not in {"file", "block"}]
    if others:
        raise UnsupportedError(
            f"the disks {', '.join(others)} are neither files nor block devices of this machine",
            hint="Name them in exclude_disks, and save them where they lie.",
        )


def _written(disks: Sequence[Disk]) -> dict[str, Json]:
    """Return when each disk that is a file was written last, by its path."""
    with storage_errors("look at the disks"):
        return {disk.path: Path(disk.path).stat().st_mtime_ns for disk in disks if disk.kind == "file"}


def require_local(settings: Settings) -> None:
    if not settings.is_local:
        raise UnsupportedError(
            f"{settings.uri} is another machine, and its QEMU can only write to its own disks",
            hint="Run quiesce on that machine for full backups; snapshots work from here.",
        )


def _attempts(parent: Parent | None, checkpoint: str | None) -> list[tuple[str | None, str | None]]:
    """Return what to ask for, the best first: (since, new checkpoint)."""
    wanted = [(parent.checkpoint, checkpoint)] if parent else []
    return list(dict.fromkeys([*wanted, (None, checkpoint), (None, None)]))


def _can_follow(found: Manifest, domain: Domain, disks: Sequence[Disk], settings: Settings) -> bool:
    if found.provider != PROVIDER or found.content.get("uuid") != domain.uuid:
        return False
    chains = [layers_of(found.content, disk.target) for disk in disks]
    return all(1 <= len(chain) <= settings.longest_chain for chain in chains)


def _is_woken(domain: Domain) -> bool:
    return marks.live_marks(domain).woken is not None


def _store_definition(domain: Domain, definition: Definition, draft: Draft) -> None:
    if DEFINITION not in draft.finished:
        with draft.create(DEFINITION) as out:
            out.write(domain.xml(secrets=True).encode())
    if definition.nvram and NVRAM not in draft.finished and Path(definition.nvram).is_file():
        with draft.create(NVRAM) as out, storage_errors(f"read {definition.nvram}"):
            out.write(Path(definition.nvram).read_bytes())


def _number(found: Json) -> float | None:
    return float(found) if isinstance(found, int | float) else None
