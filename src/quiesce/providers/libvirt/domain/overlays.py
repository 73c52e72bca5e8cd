"""Snapshots as overlays (external snapshots): taken in milliseconds, whatever the disks' size.

At the cut libvirt lets the guest write into a new, empty file; the file it wrote into before is the state
at the cut and is never written again. The domain's metadata say which file that is for each restore
point (`OverlaySnapshot`), because libvirt 9 can neither revert to such a snapshot nor remove one from the
middle of a tree.

Going back puts a new overlay on the frozen file. Removing a restore point merges what nobody needs any more
downwards, so that a chain is never longer than there are restore points.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    NonRecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.files.durable import storage_errors
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.artifact import as_artifact
from quiesce.provider_kit.ownership import Owner, claim, is_removable, made_for
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.client import Domain, DomainState
from quiesce.providers.libvirt.disk import qemu_img
from quiesce.providers.libvirt.domain import power
from quiesce.providers.libvirt.domain.backup_job import require_no_job
from quiesce.providers.libvirt.domain.checkpoints import drop_checkpoints, forget_checkpoints
from quiesce.providers.libvirt.domain.domain_xml import DomainDisk, files_below, read_definition, with_sources
from quiesce.providers.libvirt.domain.metadata import (
    FrozenImage,
    OverlaySnapshot,
    overlay_snapshots,
    set_overlay_snapshots,
)
from quiesce.providers.libvirt.domain.selection import require_not_encrypted, targets_to_restore
from quiesce.providers.libvirt.job import LibvirtJob

_EXTENSION: Final = ".qcow2"
#: in the name that a file gets when a restored disk takes its own; what follows is that one
_FORMER: Final = re.compile(r"\.former-\d+\.(?P<first>.+)$")
_PROBE: Final = "quiesce-link"
_NEXT_IS_FULL: Final = "its checkpoints had to go, so its next backup is a full one"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalArtifact:
    """What the catalog says of an external snapshot."""

    objects: tuple[str, ...]
    #: of the domain
    uuid: str
    #: the file that holds the state at the cut, by disk target
    frozen: Mapping[str, str]
    #: the file that the guest wrote into from the cut on
    overlays: Mapping[str, str]
    kind: str = "external"


def take(job: LibvirtJob, domain: Domain, disks: Sequence[DomainDisk]) -> Outcome:
    """Fix the point in time; a repetition finds the one that was fixed."""
    kept = overlay_snapshots(domain)
    found = _snapshot_of(job, kept)
    overlays = {disk.target: _overlay(job, domain, disk.target, disk.path) for disk in disks}
    if found is not None:
        claim(job.call, found.owner, f"snapshot {job.object_name} of {domain.name}")
        if _was_taken(domain, found):
            if not all(image.identity for image in found.images.values()):
                known = identified(domain, found)
                set_overlay_snapshots(domain, tuple(known if each == found else each for each in kept))
            return _outcome(job, domain, found, overlays)
        kept = tuple(other for other in kept if other != found)
        _remove_files(overlays.values())
    _refuse_foreign(job, domain, overlays)
    _require_files(disks)
    require_not_encrypted(disks)
    require_no_job(domain)
    snapshot = OverlaySnapshot(
        owner=job.owner,
        active=domain.state() is not DomainState.OFF,
        frozen={disk.target: disk.path for disk in disks},
        images={disk.target: FrozenImage(format=disk.format) for disk in disks},
    )
    set_overlay_snapshots(domain, (*kept, snapshot))
    dropped = drop_checkpoints(domain)
    domain.snapshot(_snapshot_xml(job, overlays), disk_only=True, metadata=False)
    set_overlay_snapshots(domain, (*kept, identified(domain, snapshot)))
    return replace(_outcome(job, domain, snapshot, overlays), note=_NEXT_IS_FULL if dropped else "")


def apply(job: LibvirtJob, domain: Domain) -> None:
    """Let the disks be what they were at the cut, and the domain run if it ran then."""
    kept = overlay_snapshots(domain)
    snapshot = _snapshot_of(job, kept)
    if snapshot is None or not _was_taken(domain, snapshot):
        raise ResourceNotFoundError(f"{domain.name} has no snapshot {job.object_name}")
    before = read_definition(domain.xml())
    chosen = targets_to_restore(job, domain.name, snapshot.frozen, [disk.target for disk in before.disks])
    if changed := changed_images(snapshot, chosen):
        raise DamagedArtifactError(f"{'; '.join(changed)}, so {job.object_name} was not restored")
    images = {
        target: qemu_img.info(snapshot.frozen[target], snapshot.images[target].format)
        for target in sorted(chosen)
    }
    power.switch_off(job, domain)
    forget_checkpoints(domain)
    tops: dict[str, str] = {}
    for target, image in images.items():
        tops[target] = _unused(job, domain, target, image.path)
        qemu_img.create_overlay(tops[target], image)
    job.hypervisor.define_domain(with_sources(domain.xml(), tops, dict.fromkeys(tops, "qcow2")))
    remove_unread(job, domain, [disk for disk in before.disks if disk.target in tops])
    for disk in before.disks:
        if disk.target in tops:
            _Tree(job, domain, disk.target, overlay_snapshots(domain)).name_back(disk)
    power.leave(job, domain, running=snapshot.active)


def first_file(job: LibvirtJob, domain: Domain, disk: DomainDisk) -> DomainDisk:
    """Return the disk as it was before quiesce laid files of its own upon it; as it is where nobody can tell.

    Its name alone makes no overlay quiesce's: what lies below may be an image that many domains share.
    """
    try:
        images = qemu_img.chain(disk.path, disk.format)
    except (NonRecoverableError, UnsupportedError):  # it is gone, perhaps, or what it is read through
        return disk
    frozen = _frozen(overlay_snapshots(domain), disk.target)
    for image in images:
        former = _FORMER.search(Path(image.path).name)
        if former is not None:
            return replace(disk, path=str(Path(image.path).with_name(former["first"])), format=image.format)
        below = image.backing or ""
        laid = below in frozen or _FORMER.search(Path(below).name)
        if not laid or not _is_overlay(job, domain, disk.target, image.path):
            return replace(disk, path=image.path, format=image.format)
    return disk


def why_not_first(disk: DomainDisk, first: DomainDisk) -> str:
    """Return why the restored *disk* cannot have its *first* file again; empty when it can."""
    path = Path(first.path)
    held = [image.path for image in qemu_img.chain(disk.path, disk.format) if image.snapshots]
    held += [first.path] if path.exists() and _internal_snapshots(first) else []
    if held:
        return f"{held[0]} holds snapshots"
    return "" if can_make_room(path) else "files cannot have two names there"


def can_make_room(path: Path) -> bool:
    """Tell whether the file can have two names, which not every file system allows."""
    probe = path.with_name(f".{path.name}.{_PROBE}")
    try:
        probe.unlink(missing_ok=True)
        if path.exists():
            probe.hardlink_to(path)
            probe.unlink()
    except OSError:
        return False
    return True


def make_room(job: LibvirtJob, domain: Domain, target: str, path: str) -> None:
    """Let restore points that read the file at *path* read it by another name, so that this one is free."""
    _Tree(job, domain, target, overlay_snapshots(domain)).make_room(path)


def remove_unread(job: LibvirtJob, domain: Domain, disks: Iterable[DomainDisk]) -> None:
    """Remove those of the files of the domain's former *disks* that are quiesce's and that nothing reads."""
    kept = overlay_snapshots(domain)
    for disk in disks:
        _Tree(job, domain, disk.target, kept).remove_dead(disk.path)


def ran_at_cut(job: LibvirtJob, domain: Domain) -> bool | None:
    """Tell whether the domain ran at the cut; None when it knows of no such restore point."""
    snapshot = _snapshot_of(job, overlay_snapshots(domain))
    return None if snapshot is None else snapshot.active


def delete(job: LibvirtJob, domain: Domain) -> list[str]:
    """Forget the restore point and merge what nobody needs any more; fine when it is not there.

    Returns the files that nothing reads any more, and that are not quiesce's to remove.
    """
    kept = overlay_snapshots(domain)
    snapshot = _snapshot_of(job, kept)
    if snapshot is None or not is_removable(job.call, snapshot.owner):
        return []
    rest = tuple(other for other in kept if other != snapshot)
    if not _was_taken(domain, snapshot):
        _remove_files(_overlay(job, domain, *frozen) for frozen in snapshot.frozen.items())
    else:
        require_no_job(domain)
        for target, path in snapshot.frozen.items():
            rest = _Tree(job, domain, target, rest).tidy(also=path)
    set_overlay_snapshots(domain, rest)
    return [path for path in _unread(domain, snapshot, rest) if Path(path).exists()]


def _unread(domain: Domain, gone: OverlaySnapshot, rest: Sequence[OverlaySnapshot]) -> list[str]:
    """Return which files of the snapshot that is *gone* neither a disk nor one of the *rest* reads."""
    disks = read_definition(domain.xml()).disks
    tops = [(disk.path, disk.format) for disk in disks if disk.target in gone.frozen]
    for each in rest:
        chosen = each.frozen.keys() & gone.frozen.keys()
        tops += [(each.frozen[target], each.images[target].format) for target in chosen]
    there = [(path, told) for path, told in tops if Path(path).exists()]
    read = {image.path for top in there for image in qemu_img.chain(*top)}
    return sorted(set(gone.frozen.values()) - read)


def faults(job: LibvirtJob, domain: Domain) -> list[str] | None:
    """Return what is wrong with the restore point's files; None when the domain knows of no such point."""
    snapshot = _snapshot_of(job, overlay_snapshots(domain))
    if snapshot is None or not _was_taken(domain, snapshot):
        return None
    gone = sorted(path for path in snapshot.frozen.values() if not Path(path).exists())
    return [f"gone: {path}" for path in gone] or changed_images(snapshot, snapshot.frozen)


class _Tree:
    """The image files of one disk: which is read through which, and which are somebody's restore point."""

    def __init__(
        self, job: LibvirtJob, domain: Domain, target: str, snapshots: tuple[OverlaySnapshot, ...]
    ) -> None:
        self._job = job
        self._domain = domain
        self._target = target
        self._snapshots = snapshots

    def tidy(self, *, also: str) -> tuple[OverlaySnapshot, ...]:
        """Merge and remove every file that is nobody's; return the snapshots with their files' new names.

        *also* is a file that was somebody's until now.
        """
        while (pair := self._mergeable()) is not None:
            self._merge(*pair)
        self.remove_dead(also)
        return self._snapshots

    def make_room(self, path: str) -> None:
        """Give the file at *path* a second name, and let all that is read through it say that one."""
        for image in self._images():
            if image.path == path:
                self._rename(image, self._former(path))
                return

    def name_back(self, unused: DomainDisk) -> None:
        """Let the file that a restored disk had taken the name from have it again.

        Nothing but the domain's former disk *unused* gives it up, when no restore point reads it and it holds
        no snapshots.
        """
        for image in self._chain():
            former = _FORMER.search(Path(image.path).name)
            if former is not None:
                first = Path(image.path).with_name(former["first"])
                free = not first.exists() or first.samefile(image.path)
                if not free:
                    free = str(first) == unused.path and not _internal_snapshots(unused)
                if free and str(first) not in self._parents():
                    self._rename(image, str(first))
                    Path(image.path).unlink()
                return

    def _rename(self, image: qemu_img.DiskImage, path: str) -> None:
        """Let the image have the name *path* too, and all that is read through it say that one."""
        new = Path(path)
        with storage_errors(f"name {image.path} {path}"):
            if not (new.exists() and new.samefile(image.path)):
                probe = new.with_name(f".{new.name}.{_PROBE}")
                probe.unlink(missing_ok=True)
                probe.hardlink_to(image.path)
                probe.replace(new)
        sound = self._sound()
        self._forget_identities(sound)
        for child, parent in self._parents().items():
            if parent == image.path:
                qemu_img.rename_backing(child, "qcow2", path, image.format)
        self._keep_moved(image.path, qemu_img.info(path, image.format), sound)

    def _former(self, path: str) -> str:
        """Return the second name of the file, which it may have already."""
        number, file = 1, Path(path)
        while True:
            name = f"{self._domain.name}-{self._target}.{self._job.object_name}.former-{number}.{file.name}"
            found = file.with_name(name)
            if not found.exists() or found.samefile(file):
                return str(found)
            number += 1

    def _sound(self) -> list[Owner]:
        """Return whose snapshots hold what they held at their cut."""
        return [
            each.owner
            for each in self._snapshots
            if not changed_images(each, {self._target} & each.frozen.keys())
        ]

    def _keep_moved(self, path: str, image: qemu_img.DiskImage, sound: Sequence[Owner]) -> None:
        """Note that what lay at *path* is that *image*."""
        moved = (_moved(each, self._target, path, image) for each in self._snapshots)
        self._snapshots = tuple(
            identified(self._domain, each, self._target) if each.owner in sound else each for each in moved
        )
        set_overlay_snapshots(self._domain, _with(overlay_snapshots(self._domain), self._snapshots))

    def _is_ours(self, path: str) -> bool:
        former = _FORMER.search(Path(path).name) is not None
        return former or _is_overlay(self._job, self._domain, self._target, path)

    def _chain(self) -> list[qemu_img.DiskImage]:
        disk = read_definition(self._domain.xml()).disk(self._target)
        return qemu_img.chain(disk.path, disk.format) if disk else []

    def _parents(self) -> dict[str, str | None]:
        """Return every file we know of the disk, and the one it is read through."""
        return {found.path: found.backing for found in self._images()}

    def _images(self) -> Iterable[qemu_img.DiskImage]:
        """Return every file we know of the disk."""
        tops = {
            each.frozen[self._target]: each.images[self._target].format
            for each in self._snapshots
            if self._target in each.frozen
        }
        chains = [qemu_img.chain(path, told) for path, told in tops.items() if Path(path).exists()]
        return [image for images in (self._chain(), *chains) for image in images]

    def _mergeable(self) -> tuple[qemu_img.DiskImage, qemu_img.DiskImage, bool] | None:
        """Return an overlay, the file below it that only it needs, and whether it is the active one."""
        chain, parents, frozen = self._chain(), self._parents(), _frozen(self._snapshots, self._target)
        for position, (top, base) in enumerate(pairwise(chain)):
            alone = [path for path, parent in parents.items() if parent == base.path] == [top.path]
            free = base.path not in frozen and not top.snapshots
            if alone and free and self._is_ours(top.path):
                return top, base, position == 0
        return None

    def _merge(self, top: qemu_img.DiskImage, base: qemu_img.DiskImage, active: bool) -> None:
        drop_checkpoints(self._domain)
        children = [path for path, parent in self._parents().items() if parent == top.path]
        sound = self._sound()
        self._forget_identities(sound)
        if self._domain.state() is DomainState.OFF:
            self._merge_off(top, base, active=active, children=children)
        else:
            self._merge_running(top, base, active=active)
        in_chain = {found.path for found in self._chain()}
        for child in children:
            if child not in in_chain:
                qemu_img.rename_backing(child, "qcow2", base.path, base.format)
        self._keep_moved(top.path, base, sound)
        Path(top.path).unlink(missing_ok=True)

    def _forget_identities(self, owners: Sequence[Owner]) -> None:
        """Let nobody take for a change of somebody else's what a merge, cut off perhaps, is about to do."""
        self._snapshots = tuple(
            _without_identity(each, self._target) if each.owner in owners else each
            for each in self._snapshots
        )
        set_overlay_snapshots(self._domain, _with(overlay_snapshots(self._domain), self._snapshots))

    def _merge_off(
        self, top: qemu_img.DiskImage, base: qemu_img.DiskImage, *, active: bool, children: Sequence[str]
    ) -> None:
        qemu_img.commit(top.path, top.format, base.path)
        if active:
            changed = with_sources(self._domain.xml(), {self._target: base.path}, {self._target: base.format})
            self._job.hypervisor.define_domain(changed)
        for child in children:
            qemu_img.rename_backing(child, "qcow2", base.path, base.format)

    def _merge_running(self, top: qemu_img.DiskImage, base: qemu_img.DiskImage, *, active: bool) -> None:
        domain, target = self._domain, self._target
        if domain.block_job(target) is None:
            domain.commit_block(target, base=base.path, top=top.path, active=active)
        if not active:
            self._wait(lambda: domain.block_job(target) is None)
            return
        self._wait(lambda: _is_ready(domain, target))
        domain.pivot(target)
        self._wait(lambda: domain.block_job(target) is None)

    def _wait(self, over: Callable[[], bool]) -> None:
        self._job.wait_until(self._domain, over, f"merging the disk {self._target} of {self._domain.name}")

    def remove_dead(self, path: str) -> None:
        """Remove *path*, and what it alone was read through, when nothing needs them or what is in them."""
        doomed: str | None = path
        while doomed and doomed not in self._parents() and self._is_ours(doomed):
            there = Path(doomed).exists() and _is_overlay(self._job, self._domain, self._target, doomed)
            image = qemu_img.info(doomed, "qcow2") if there else None
            if image is not None and image.snapshots:
                return
            Path(doomed).unlink(missing_ok=True)
            doomed = image.backing if image is not None else None


def _is_ready(domain: Domain, target: str) -> bool:
    """Tell whether the disk's merge has caught up with its guest."""
    for disk in xml.read(domain.xml(live=True)).findall("devices/disk"):
        if xml.attribute(disk, "target", "dev") == target:
            return xml.attribute(disk, "mirror", "ready") == "yes"
    return False


def _internal_snapshots(disk: DomainDisk) -> tuple[str, ...]:
    return () if disk.format == "raw" else qemu_img.info(disk.path, disk.format).snapshots


def _snapshot_of(job: LibvirtJob, snapshots: Sequence[OverlaySnapshot]) -> OverlaySnapshot | None:
    return next((found for found in snapshots if made_for(job.call, found.owner)), None)


def _was_taken(domain: Domain, snapshot: OverlaySnapshot) -> bool:
    """Tell whether the cut happened: the domain no longer writes into the files that it was to freeze."""
    current = read_definition(domain.xml())
    disks = [current.disk(target) for target in snapshot.frozen]
    return all(disk is None or disk.path != snapshot.frozen[disk.target] for disk in disks)


def _outcome(
    job: LibvirtJob, domain: Domain, snapshot: OverlaySnapshot, overlays: Mapping[str, str]
) -> Outcome:
    artifact = ExternalArtifact(
        objects=(job.object_name,), uuid=domain.uuid, frozen=dict(snapshot.frozen), overlays=overlays
    )
    return Outcome(artifact=as_artifact(artifact))


def _refuse_foreign(job: LibvirtJob, domain: Domain, overlays: Mapping[str, str]) -> None:
    there = [path for path in overlays.values() if Path(path).exists()]
    if job.object_name in domain.snapshots():
        there.append(f"snapshot {job.object_name}")
    if there:
        raise ForeignObjectError(f"{domain.name}: there is {', '.join(there)} already")


def _snapshot_xml(job: LibvirtJob, overlays: Mapping[str, str]) -> str:
    tree = xml.element("domainsnapshot")
    xml.add(tree, "name", job.object_name)
    disks = xml.add(tree, "disks")
    for target, path in overlays.items():
        disk = xml.add(disks, "disk", name=target, snapshot="external", type="file")
        xml.add(disk, "driver", type="qcow2")
        xml.add(disk, "source", file=path)
    for target in sorted(job.options.exclude_disks):
        xml.add(disks, "disk", name=target, snapshot="no")
    return xml.write(tree)


def _overlay(job: LibvirtJob, domain: Domain, target: str, path: str) -> str:
    """Return the file that the guest writes into after the cut, instead of *path*."""
    return str(Path(path).with_name(f"{domain.name}-{target}.{job.object_name}{_EXTENSION}"))


def _is_overlay(job: LibvirtJob, domain: Domain, target: str, path: str) -> bool:
    """Tell whether quiesce made that file: it is an image on top of another, of the name we give them.

    The name begins with what the domain was called then.
    """
    found = Path(path)
    if _FORMER.search(found.name):
        return False
    named = found.name.startswith(f"{domain.name}-{target}.") and found.name.count(".") >= 2
    if not (named or f"-{target}.{job.call.instance}-" in found.name) or not found.exists():
        return False
    return found.suffix == _EXTENSION and qemu_img.info(path, "qcow2").backing is not None


def _remove_files(paths: Iterable[str]) -> None:
    for path in paths:
        Path(path).unlink(missing_ok=True)


def _require_files(disks: Sequence[DomainDisk]) -> None:
    others = [disk.target for disk in disks if disk.kind != "file"]
    if others:
        raise UnsupportedError(
            f"the disks {', '.join(others)} are not files, so no overlay can be laid on them",
            hint="Name them in exclude_disks, or make full backups.",
        )


def _unused(job: LibvirtJob, domain: Domain, target: str, frozen: str) -> str:
    """Return a file for the overlay of a domain that goes back."""
    disk = _disk_now(domain, target)
    taken = {found.path for found in qemu_img.chain(disk.path, disk.format)}
    taken |= {path for each in overlay_snapshots(domain) for path in each.frozen.values()}
    number = 1
    while True:
        path = Path(frozen).with_name(f"{domain.name}-{target}.{job.object_name}.{number}{_EXTENSION}")
        if str(path) not in taken:
            return str(path)
        number += 1


def _disk_now(domain: Domain, target: str) -> DomainDisk:
    disk = read_definition(domain.xml()).disk(target)
    if disk is None:
        raise ResourceNotFoundError(f"{domain.name} has no disk {target} any more")
    return disk


def identified(domain: Domain, snapshot: OverlaySnapshot, *targets: str) -> OverlaySnapshot:
    """Return the snapshot with what its files (those of *targets*, or all) are by now."""
    text = domain.xml(live=True)
    chosen = [target for target in targets or snapshot.frozen if target in snapshot.frozen]
    images = {
        target: replace(image, identity=_identity(snapshot.frozen[target], image.format, text))
        for target, image in snapshot.images.items()
        if target in chosen
    }
    return replace(snapshot, images={**snapshot.images, **images})


def changed_images(snapshot: OverlaySnapshot, targets: Iterable[str]) -> list[str]:
    """Return which of the files that hold the state at the cut, or are below one, are not what they were."""
    known = {target: snapshot.images[target] for target in targets}
    return [
        f"{snapshot.frozen[target]}, or what it is read through, was changed since the snapshot"
        for target, image in sorted(known.items())
        if image.identity and image.identity != _identity(snapshot.frozen[target], image.format, "")
    ]


def _identity(path: str, image_format: str, live: str) -> str:
    """Return a digest that differs when the image, or any that it is read through, was written or replaced.

    A running domain's definition *live* says faster which they are.
    """
    files = files_below(live, path) if live else []
    if not files:
        files = [image.path for image in qemu_img.chain(path, image_format)]
    with storage_errors(f"look at {path}"):
        found = [Path(each).stat() for each in files]
    told = [(status.st_ino, status.st_size, status.st_mtime_ns) for status in found]
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _without_identity(snapshot: OverlaySnapshot, target: str) -> OverlaySnapshot:
    if target not in snapshot.images:
        return snapshot
    unknown = replace(snapshot.images[target], identity="")
    return replace(snapshot, images={**snapshot.images, target: unknown})


def _frozen(snapshots: Sequence[OverlaySnapshot], target: str) -> set[str]:
    return {snapshot.frozen[target] for snapshot in snapshots if target in snapshot.frozen}


def _moved(snapshot: OverlaySnapshot, target: str, old: str, new: qemu_img.DiskImage) -> OverlaySnapshot:
    if snapshot.frozen.get(target) != old:
        return snapshot
    return replace(
        snapshot,
        frozen={**snapshot.frozen, target: new.path},
        images={**snapshot.images, target: FrozenImage(format=new.format)},
    )


def _with(
    stored: tuple[OverlaySnapshot, ...], changed: Sequence[OverlaySnapshot]
) -> tuple[OverlaySnapshot, ...]:
    """Return *stored* with those replaced that *changed* has of the same owner."""
    by_owner = {snapshot.owner: snapshot for snapshot in changed}
    return tuple(by_owner.get(snapshot.owner, snapshot) for snapshot in stored)
