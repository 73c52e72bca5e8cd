"""Snapshots as overlays (external snapshots): taken in milliseconds, whatever the disks' size.

At the cut libvirt lets the guest write into a new, empty file; the file it wrote into before is the state
at the cut and is never written again. The domain's metadata say which file that is for each restore
point (`marks.Point`), because libvirt 9 can neither revert to such a snapshot nor remove one from the
middle of a tree.

Going back puts a new overlay on the frozen file. Removing a restore point merges what nobody needs any more
downwards, so that a chain is never longer than there are restore points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from quiesce.errors import (
    ForeignObjectError,
    OperationTimeoutError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.call import Call
from quiesce.model.outcome import Outcome
from quiesce.ports import Context
from quiesce.providers.libvirt import jobs, marks, qemu_img, xml
from quiesce.providers.libvirt.client import Domain, Hypervisor, State
from quiesce.providers.libvirt.definition import Disk, read_definition, with_sources
from quiesce.providers.libvirt.settings import object_name

_EXTENSION: Final = ".qcow2"
_NEXT_IS_FULL: Final = "its checkpoints had to go, so its next backup is a full one"


def take(domain: Domain, call: Call, disks: Sequence[Disk], excluded: Sequence[str]) -> Outcome:
    """Fix the point in time; a repetition finds the one that was fixed."""
    kept = marks.points(domain)
    found = _point_named(kept, call)
    overlays = {disk.target: _overlay(disk, domain, object_name(call)) for disk in disks}
    if found is not None:
        if found.execution != call.execution:
            raise ForeignObjectError(f"execution {found.execution} made {object_name(call)} of {domain.name}")
        if _was_taken(domain, found):
            return _outcome(call, found, overlays)
        kept = tuple(point for point in kept if point != found)
        _remove_files(overlays.values())
    _refuse_foreign(domain, call, overlays)
    _require_files(disks)
    jobs.require_no_job(domain)
    point = marks.Point(
        name=object_name(call),
        execution=call.execution,
        active=domain.state() is not State.OFF,
        frozen={disk.target: disk.path for disk in disks},
    )
    marks.set_points(domain, (*kept, point))
    dropped = jobs.drop_checkpoints(domain)
    domain.snapshot(_snapshot_xml(call, overlays, excluded), disk_only=True, metadata=False)
    return replace(_outcome(call, point, overlays), note=_NEXT_IS_FULL if dropped else "")


def apply(hypervisor: Hypervisor, domain: Domain, call: Call) -> None:
    """Let the disks be what they were at the cut, and the domain run if it ran then."""
    kept = marks.points(domain)
    point = _point_named(kept, call)
    if point is None or not _was_taken(domain, point):
        raise ResourceNotFoundError(f"{domain.name} has no snapshot {object_name(call)}")
    images = {target: qemu_img.chain(path)[0] for target, path in point.frozen.items()}
    current = read_definition(domain.xml())
    domain.destroy()
    domain.drop_managed_save()
    _forget_checkpoints(domain)
    tops: dict[str, str] = {}
    for target, frozen in images.items():
        tops[target] = _unused(domain, target, frozen.path, object_name(call))
        qemu_img.create_overlay(tops[target], frozen, frozen.format)
    hypervisor.define_domain(with_sources(domain.xml(), tops, dict.fromkeys(tops, "qcow2")))
    for disk in current.disks:
        if (
            disk.target in tops
            and _is_overlay(disk.path, domain)
            and disk.path not in _frozen(kept, disk.target)
        ):
            Path(disk.path).unlink(missing_ok=True)
    if point.active:
        domain.start()


def delete(hypervisor: Hypervisor, domain: Domain, call: Call, context: Context) -> None:
    """Forget the restore point and merge what nobody needs any more; fine when it is not there."""
    kept = marks.points(domain)
    point = _point_named(kept, call)
    if point is None or (call.undo and point.execution != call.execution):
        return
    taken = _was_taken(domain, point)
    rest = tuple(other for other in kept if other != point)
    if not taken:
        _remove_files(_overlay_beside(point, domain, call))
    else:
        jobs.require_no_job(domain)
        for target in point.frozen:
            rest = _Tree(hypervisor, domain, target, rest, context).tidy(also=point.frozen[target])
    marks.set_points(domain, rest)


class _Tree:
    """The image files of one disk: which is read through which, and which are somebody's restore point."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        domain: Domain,
        target: str,
        points: tuple[marks.Point, ...],
        context: Context,
    ) -> None:
        self._hypervisor = hypervisor
        self._domain = domain
        self._target = target
        self._points = points
        self._context = context

    def tidy(self, *, also: str) -> tuple[marks.Point, ...]:
        """Merge and remove every file that is nobody's; return the points with their files' new names.

        *also* is a file that was somebody's until now.
        """
        while (pair := self._mergeable()) is not None:
            self._merge(*pair)
        self._remove_dead(also)
        return self._points

    def _chain(self) -> list[qemu_img.Image]:
        disk = read_definition(self._domain.xml()).disk(self._target)
        return qemu_img.chain(disk.path) if disk else []

    def _parents(self) -> dict[str, str | None]:
        """Return every file we know of the disk, and the one it is read through."""
        known: dict[str, str | None] = {}
        tops = [path for path in _frozen(self._points, self._target) if Path(path).exists()]
        for images in (self._chain(), *(qemu_img.chain(path) for path in tops)):
            known.update({found.path: found.backing for found in images})
        return known

    def _mergeable(self) -> tuple[qemu_img.Image, qemu_img.Image, bool] | None:
        """Return an overlay, the file below it that only it needs, and whether it is the active one."""
        chain, parents, frozen = self._chain(), self._parents(), _frozen(self._points, self._target)
        for position, (top, base) in enumerate(pairwise(chain)):
            alone = [path for path, parent in parents.items() if parent == base.path] == [top.path]
            free = base.path not in frozen and not top.snapshots
            if alone and free and _is_overlay(top.path, self._domain):
                return top, base, position == 0
        return None

    def _merge(self, top: qemu_img.Image, base: qemu_img.Image, active: bool) -> None:
        jobs.drop_checkpoints(self._domain)
        children = [path for path, parent in self._parents().items() if parent == top.path]
        if self._domain.state() is State.OFF:
            self._merge_off(top, base, active=active, children=children)
        else:
            self._merge_running(top, base, active=active)
        in_chain = {found.path for found in self._chain()}
        for child in children:
            if child not in in_chain:
                qemu_img.rename_backing(child, base.path, base.format)
        self._points = tuple(_moved(point, self._target, top.path, base.path) for point in self._points)
        marks.set_points(self._domain, _with(marks.points(self._domain), self._points))
        Path(top.path).unlink(missing_ok=True)

    def _merge_off(
        self, top: qemu_img.Image, base: qemu_img.Image, *, active: bool, children: Sequence[str]
    ) -> None:
        qemu_img.commit(top.path, base.path)
        if active:
            changed = with_sources(self._domain.xml(), {self._target: base.path}, {self._target: base.format})
            self._hypervisor.define_domain(changed)
        for child in children:
            qemu_img.rename_backing(child, base.path, base.format)

    def _merge_running(self, top: qemu_img.Image, base: qemu_img.Image, *, active: bool) -> None:
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
        if not self._domain.signals.wait_until(over, self._context.remaining_s()):
            raise OperationTimeoutError(
                f"merging the disk {self._target} of {self._domain.name} took too long"
            )

    def _remove_dead(self, path: str) -> None:
        """Remove *path*, and what it alone was read through, when nothing needs them."""
        doomed: str | None = path
        while doomed and doomed not in self._parents() and _is_overlay(doomed, self._domain):
            below = qemu_img.info(doomed).backing if Path(doomed).exists() else None
            Path(doomed).unlink(missing_ok=True)
            doomed = below


def _is_ready(domain: Domain, target: str) -> bool:
    """Tell whether the disk's merge has caught up with its guest."""
    for disk in xml.read(domain.xml(live=True)).findall("devices/disk"):
        if xml.attribute(disk, "target", "dev") == target:
            return xml.attribute(disk, "mirror", "ready") == "yes"
    return False


def _point_named(points: Sequence[marks.Point], call: Call) -> marks.Point | None:
    return next((point for point in points if point.name == object_name(call)), None)


def _was_taken(domain: Domain, point: marks.Point) -> bool:
    """Tell whether the cut happened: the domain no longer writes into the files that it was to freeze."""
    current = read_definition(domain.xml())
    disks = [current.disk(target) for target in point.frozen]
    return all(disk is None or disk.path != point.frozen[disk.target] for disk in disks)


def _outcome(call: Call, point: marks.Point, overlays: Mapping[str, str]) -> Outcome:
    return Outcome(
        artifact={
            "kind": "external",
            "objects": [object_name(call)],
            "frozen": dict(point.frozen),
            "overlays": dict(overlays),
        }
    )


def _refuse_foreign(domain: Domain, call: Call, overlays: Mapping[str, str]) -> None:
    there = [path for path in overlays.values() if Path(path).exists()]
    if object_name(call) in domain.snapshots():
        there.append(f"snapshot {object_name(call)}")
    if there:
        raise ForeignObjectError(f"{domain.name}: there is {', '.join(there)} already")


def _snapshot_xml(call: Call, overlays: Mapping[str, str], excluded: Sequence[str]) -> str:
    tree = xml.element("domainsnapshot")
    xml.add(tree, "name", object_name(call))
    disks = xml.add(tree, "disks")
    for target, path in overlays.items():
        disk = xml.add(disks, "disk", name=target, snapshot="external", type="file")
        xml.add(disk, "driver", type="qcow2")
        xml.add(disk, "source", file=path)
    for target in excluded:
        xml.add(disks, "disk", name=target, snapshot="no")
    return xml.write(tree)


def _overlay(disk: Disk, domain: Domain, name: str) -> str:
    """Return the file that the guest writes into after the cut."""
    return str(Path(disk.path).with_name(f"{domain.name}-{disk.target}.{name}{_EXTENSION}"))


def _is_overlay(path: str, domain: Domain) -> bool:
    """Tell whether quiesce made that file: it is an image on top of another, of the name we give them."""
    found = Path(path)
    named = found.name.startswith(f"{domain.name}-") and found.name.count(".") >= 2
    if not named or not found.exists():
        return False
    return found.suffix == _EXTENSION and qemu_img.info(path).backing is not None


def _overlay_beside(point: marks.Point, domain: Domain, call: Call) -> list[str]:
    """Return the overlays of a cut that did not happen."""
    return [
        str(Path(path).with_name(f"{domain.name}-{target}.{object_name(call)}{_EXTENSION}"))
        for target, path in point.frozen.items()
    ]


def _remove_files(paths: Iterable[str]) -> None:
    for path in paths:
        Path(path).unlink(missing_ok=True)


def _require_files(disks: Sequence[Disk]) -> None:
    others = [disk.target for disk in disks if disk.kind != "file"]
    if others:
        raise UnsupportedError(
            f"the disks {', '.join(others)} are not files, so no overlay can be laid on them",
            hint="Name them in exclude_disks, or make full backups.",
        )


def _unused(domain: Domain, target: str, frozen: str, name: str) -> str:
    """Return a file for the overlay of a domain that goes back."""
    taken = {found.path for found in qemu_img.chain(_path_now(domain, target))}
    taken |= {path for point in marks.points(domain) for path in point.frozen.values()}
    number = 1
    while True:
        path = Path(frozen).with_name(f"{domain.name}-{target}.{name}.{number}{_EXTENSION}")
        if str(path) not in taken:
            return str(path)
        number += 1


def _path_now(domain: Domain, target: str) -> str:
    disk = read_definition(domain.xml()).disk(target)
    if disk is None:
        raise ResourceNotFoundError(f"{domain.name} has no disk {target} any more")
    return disk.path


def _frozen(points: Sequence[marks.Point], target: str) -> set[str]:
    return {point.frozen[target] for point in points if target in point.frozen}


def _moved(point: marks.Point, target: str, old: str, new: str) -> marks.Point:
    if point.frozen.get(target) != old:
        return point
    return replace(point, frozen={**point.frozen, target: new})


def _with(stored: tuple[marks.Point, ...], changed: Sequence[marks.Point]) -> tuple[marks.Point, ...]:
    """Return *stored* with those replaced that *changed* has under the same name."""
    by_name = {point.name: point for point in changed}
    return tuple(by_name.get(point.name, point) for point in stored)


def _forget_checkpoints(domain: Domain) -> None:
    """Remove our checkpoints: what they followed is not what the disks go back to."""
    for name, mark in jobs.marks_of_checkpoints(domain).items():
        if mark is not None:
            domain.delete_checkpoint(name, metadata_only=True)
