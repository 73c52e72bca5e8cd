"""What quiesce writes into a domain's own metadata, so that any process finds it again.

The running domain carries `GuestFreeze` (gone with the QEMU process that was frozen) and `StartedToRead` (it
was off and was started, paused, to be backed up). The persistent definition carries one `OverlaySnapshot` for
each external snapshot: which files are its frozen state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quiesce.errors import ProviderError
from quiesce.provider_kit.ownership import Owner
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.client import Domain, DomainState
from quiesce.providers.libvirt.xml import METADATA_URI

_NS = f"{{{METADATA_URI}}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFreeze:
    """A freeze of ours was begun in this QEMU process and its thaw is not confirmed."""

    execution: str
    #: process id, in the guest, of the timer that thaws it
    timer: int | None = None
    #: when that timer has thawed it, by the monotonic clock of the machine that froze it
    until: float | None = None
    #: which start of which machine that clock counts from
    boot: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedToRead:
    """It was off; we started it, paused, to read its disks."""

    #: of the restore point that they are read for
    key: str
    #: whether it continued from a managed save, and is to be saved again
    saved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenImage:
    """What the file with a disk's state at a cut was then, so that it can be known again."""

    format: str
    #: of it and of all that it is read through; empty until that is known
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlaySnapshot:
    """An external snapshot of ours."""

    owner: Owner
    #: whether the domain ran at the cut
    active: bool
    #: the file that holds the state at the cut, by disk target
    frozen: Mapping[str, str] = field(default_factory=dict)
    #: what that file was, by disk target
    images: Mapping[str, FrozenImage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveMetadata:
    """What the running domain carries."""

    freeze: GuestFreeze | None = None
    started: StartedToRead | None = None


def live_metadata(domain: Domain) -> LiveMetadata:
    """Return what the running *domain* carries; nothing when it is off."""
    try:
        text = domain.metadata(live=True)
    except ProviderError:
        if domain.state() is not DomainState.OFF:
            raise
        text = None
    if text is None:
        return LiveMetadata()
    tree = xml.read(text)
    return LiveMetadata(freeze=_freeze(_find(tree, "freeze")), started=_started(_find(tree, "started")))


def set_live_metadata(domain: Domain, found: LiveMetadata) -> None:
    """Let the running *domain* carry exactly that."""
    if found == LiveMetadata():
        if domain.metadata(live=True) is not None:
            domain.set_metadata(None, live=True)
        return
    tree = xml.element("live")
    if found.freeze:
        made = xml.add(tree, "freeze", execution=found.freeze.execution)
        if found.freeze.timer is not None and found.freeze.until is not None:
            made.attrib |= {"timer": str(found.freeze.timer), "until": str(found.freeze.until)}
            made.attrib["boot"] = found.freeze.boot
    if found.started:
        xml.add(tree, "started", key=found.started.key, saved=_word(said=found.started.saved))
    domain.set_metadata(xml.write(tree), live=True)


def overlay_snapshots(domain: Domain) -> tuple[OverlaySnapshot, ...]:
    """Return the external snapshots of *domain* that quiesce made, oldest first."""
    text = domain.metadata(live=False)
    listed = () if text is None else xml.read(text)
    found = (_snapshot(each) for each in listed if each.tag.removeprefix(_NS) == "point")
    return tuple(snapshot for snapshot in found if snapshot is not None)


def set_overlay_snapshots(domain: Domain, kept: tuple[OverlaySnapshot, ...]) -> None:
    """Let *domain* carry exactly these."""
    domain.set_metadata(_snapshots_element(kept), live=False)


def restored(key: str) -> str:
    """Return what a domain carries that was made from the backup of that key, under another name."""
    tree = xml.element(f"{_NS}points")
    xml.add(tree, f"{_NS}restored", key=key)
    return xml.write(tree)


def restored_from(domain: Domain) -> str | None:
    """Return the key of the backup that *domain* was made from under another name."""
    text = domain.metadata(live=False)
    found = _find(xml.read(text), "restored") if text else None
    return None if found is None else found.get("key")


def _snapshots_element(kept: tuple[OverlaySnapshot, ...]) -> str | None:
    if not kept:
        return None
    tree = xml.element("points")
    for snapshot in kept:
        made = xml.add(tree, "point", active=_word(said=snapshot.active), **snapshot.owner.as_mark(""))
        for target, path in snapshot.frozen.items():
            image = snapshot.images[target]
            xml.add(made, "disk", target=target, frozen=path, format=image.format, identity=image.identity)
    return xml.write(tree)


def _word(*, said: bool) -> str:
    return "yes" if said else "no"


def _find(tree: xml.Element, tag: str) -> xml.Element | None:
    return next((found for found in tree if found.tag.removeprefix(_NS) == tag), None)


def _freeze(found: xml.Element | None) -> GuestFreeze | None:
    if found is None:
        return None
    timer, until = found.get("timer"), found.get("until")
    return GuestFreeze(
        execution=found.get("execution", ""),
        timer=int(timer) if timer else None,
        until=float(until) if until else None,
        boot=found.get("boot", ""),
    )


def _started(found: xml.Element | None) -> StartedToRead | None:
    if found is None:
        return None
    return StartedToRead(key=found.get("key", ""), saved=found.get("saved") == "yes")


def _snapshot(found: xml.Element) -> OverlaySnapshot | None:
    owner = Owner.read("", found.attrib)
    if owner is None:
        return None
    return OverlaySnapshot(
        owner=owner,
        active=found.get("active") == "yes",
        frozen={disk.get("target", ""): disk.get("frozen", "") for disk in found},
        images={
            disk.get("target", ""): FrozenImage(
                format=disk.get("format", ""), identity=disk.get("identity", "")
            )
            for disk in found
        },
    )
