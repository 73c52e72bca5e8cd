"""What quiesce writes into a domain's own metadata, so that any process finds it again.

The running domain carries `Freeze` (gone with the QEMU process that was frozen) and `Woken` (a domain that
was off and was started, paused, to be backed up). The persistent definition carries one `Point` for each
external snapshot: which files are its frozen state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.errors import ProviderError
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.client import Domain, State
from quiesce.providers.libvirt.xml import METADATA_URI

_NS = f"{{{METADATA_URI}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A freeze of ours was begun in this QEMU process and its thaw is not confirmed."""

    execution: str
    #: process id, in the guest, of the timer that thaws it
    timer: int | None = None
    #: when that timer has thawed it, in seconds since the epoch
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """It was off; we started it, paused, to read its disks."""

    key: str
    #: whether it continued from a managed save, and is to be saved again
    saved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """An external snapshot of ours."""

    name: str
    execution: str
    #: whether the domain ran at the cut
    active: bool
    #: the file that holds the state at the cut, by disk target
    frozen: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveMarks:
    """What the running domain carries."""

    freeze: Freeze | None = None
    woken: Woken | None = None


def live_marks(domain: Domain) -> LiveMarks:
    """Return what the running *domain* carries; nothing when it is off."""
    try:
        text = domain.metadata(live=True)
    except ProviderError:
        if domain.state() is not State.OFF:
            raise
        text = None
    if text is None:
        return LiveMarks()
    tree = xml.read(text)
    return LiveMarks(freeze=_freeze(_find(tree, "freeze")), woken=_woken(_find(tree, "woken")))


def set_live_marks(domain: Domain, marks: LiveMarks) -> None:
    """Let the running *domain* carry exactly *marks*."""
    if marks == LiveMarks():
        if domain.metadata(live=True) is not None:
            domain.set_metadata(None, live=True)
        return
    tree = xml.element("marks")
    if marks.freeze:
        made = xml.add(tree, "freeze", execution=marks.freeze.execution)
        if marks.freeze.timer is not None and marks.freeze.until is not None:
            made.attrib |= {"timer": str(marks.freeze.timer), "until": str(marks.freeze.until)}
    if marks.woken:
        xml.add(tree, "woken", key=marks.woken.key, saved="yes" if marks.woken.saved else "no")
    domain.set_metadata(xml.write(tree), live=True)


def points(domain: Domain) -> tuple[Point, ...]:
    """Return the external snapshots of *domain* that quiesce made, oldest first."""
    text = domain.metadata(live=False)
    if text is None:
        return ()
    return tuple(_point(found) for found in xml.read(text) if found.tag.removeprefix(_NS) == "point")


def set_points(domain: Domain, kept: tuple[Point, ...]) -> None:
    """Let *domain* carry exactly these."""
    domain.set_metadata(_points_element(kept), live=False)


def restored(key: str) -> str:
    """Return what a domain carries that was made from a backup, under another name."""
    tree = xml.element(f"{_NS}points")
    xml.add(tree, f"{_NS}restored", key=key)
    return xml.write(tree)


def restored_from(domain: Domain) -> str | None:
    """Return the key of the backup that *domain* was made from under another name."""
    text = domain.metadata(live=False)
    found = _find(xml.read(text), "restored") if text else None
    return None if found is None else found.get("key")


def _points_element(kept: tuple[Point, ...]) -> str | None:
    if not kept:
        return None
    tree = xml.element("points")
    for point in kept:
        active = "yes" if point.active else "no"
        made = xml.add(tree, "point", name=point.name, execution=point.execution, active=active)
        for target, path in point.frozen.items():
            xml.add(made, "disk", target=target, frozen=path)
    return xml.write(tree)


def _find(tree: xml.Element, tag: str) -> xml.Element | None:
    return next((found for found in tree if found.tag.removeprefix(_NS) == tag), None)


def _freeze(found: xml.Element | None) -> Freeze | None:
    if found is None:
        return None
    timer, until = found.get("timer"), found.get("until")
    return Freeze(
        execution=found.get("execution", ""),
        timer=int(timer) if timer else None,
        until=float(until) if until else None,
    )


def _woken(found: xml.Element | None) -> Woken | None:
    return None if found is None else Woken(key=found.get("key", ""), saved=found.get("saved") == "yes")


def _point(found: xml.Element) -> Point:
    return Point(
        name=found.get("name", ""),
        execution=found.get("execution", ""),
        active=found.get("active") == "yes",
        frozen={disk.get("target", ""): disk.get("frozen", "") for disk in found},
    )
