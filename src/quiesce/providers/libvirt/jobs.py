"""Backup jobs and checkpoints of a domain: begun, found again, and cleared away."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from quiesce.errors import ForeignObjectError, NonRecoverableError, UnsupportedError
from quiesce.providers.libvirt import marks, qemu_img, xml
from quiesce.providers.libvirt.client import Domain, State
from quiesce.providers.libvirt.definition import Disk, read_definition
from quiesce.providers.libvirt.errors import DomainBusyError

_SOCKET_SUFFIX: Final = ".sock"
#: what the kernel allows
_LONGEST_SOCKET: Final = 107
_SAYS: Final = "quiesce "


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointMark:
    """What a checkpoint of ours says about itself, in its description."""

    deployment: str
    point: str
    instance: str
    execution: str


def socket_path(directory: str, key: str, execution: str) -> Path:
    """Return where QEMU serves a backup's disks: what names the job, too.

    Raises:
        NonRecoverableError: when that is more than a socket's name may be.
    """
    path = Path(directory) / f"quiesce-{key}-{execution}{_SOCKET_SUFFIX}"
    if len(str(path)) > _LONGEST_SOCKET:
        raise NonRecoverableError(
            f"scratch_dir {directory} is too long: a socket's name may have {_LONGEST_SOCKET} letters",
            hint="Set scratch_dir to a shorter path on a disk with room.",
        )
    return path


def scratch_paths(directory: str, key: str, execution: str, disks: Sequence[Disk]) -> dict[str, Path]:
    """Return where QEMU keeps, for each disk, what the guest overwrites while it is read."""
    return {
        disk.target: Path(directory) / f"quiesce-{key}-{execution}-{disk.target}.scratch" for disk in disks
    }


def begin(
    domain: Domain,
    disks: Sequence[Disk],
    excluded: Sequence[str],
    *,
    socket: Path,
    scratch: dict[str, Path],
    since: str | None,
    checkpoint: str | None,
) -> None:
    """Begin to serve the disks as they are at this instant, with what changed since checkpoint *since*."""
    job = xml.element("domainbackup", mode="pull")
    if since:
        xml.add(job, "incremental", since)
    xml.add(job, "server", transport="unix", socket=str(socket))
    listed = xml.add(job, "disks")
    for disk in disks:
        entry = xml.add(listed, "disk", name=disk.target, backup="yes", type="file", exportname=disk.target)
        if since:
            entry.set("exportbitmap", bitmap_of(since))
        xml.add(entry, "driver", type="qcow2")
        xml.add(entry, "scratch", file=str(scratch[disk.target]))
    for target in excluded:
        xml.add(listed, "disk", name=target, backup="no")
    domain.begin_backup(xml.write(job), checkpoint)


def bitmap_of(checkpoint: str) -> str:
    """Return the name under which the changes since *checkpoint* are served."""
    return f"since-{checkpoint}"


def checkpoint_xml(name: str, mark: CheckpointMark, disks: Sequence[Disk], excluded: Sequence[str]) -> str:
    """Return a checkpoint that follows *disks* from now on."""
    tree = xml.element("domaincheckpoint")
    xml.add(tree, "name", name)
    xml.add(tree, "description", _SAYS + json.dumps(asdict(mark)))
    listed = xml.add(tree, "disks")
    for disk in disks:
        xml.add(listed, "disk", name=disk.target, checkpoint="bitmap")
    for target in excluded:
        xml.add(listed, "disk", name=target, checkpoint="no")
    return xml.write(tree)


def marks_of_checkpoints(domain: Domain) -> dict[str, CheckpointMark | None]:
    """Return the checkpoints, oldest first; None for those that are not ours."""
    return {name: _mark_of(text) for name, text in domain.checkpoints().items()}


def running_job(domain: Domain) -> str | None:
    """Return the socket of the backup job that runs; None when none does.

    Raises:
        DomainBusyError: when libvirt works on something else. Asking it to begin a second job would block
            for half a minute, and fail.
    """
    kind = domain.job()
    if kind is None:
        return None
    text = domain.backup_xml() if kind in {"backup", "unknown"} else None
    if text is None:
        raise DomainBusyError(f"libvirt works on a {kind} of {domain.name}")
    return xml.attribute(xml.read(text), "server", "socket") or "a push job"


def require_no_job(domain: Domain) -> None:
    """Return when nothing is in the way of a job.

    Raises:
        DomainBusyError: when something is.
    """
    if domain.state() is not State.OFF and (found := running_job(domain)) is not None:
        raise DomainBusyError(f"a backup of {domain.name} runs already, through {found}")


def end(domain: Domain | None, directory: str, key: str, execution: str | None) -> None:
    """End the backup job of that restore point, remove its socket and scratch files; fine when none is there.

    With *execution*, only when that one began it. Without a domain only the files go.
    """
    begins = f"quiesce-{key}-{execution}" if execution else f"quiesce-{key}-"
    if domain is not None and domain.state() is not State.OFF:
        _abort(domain, begins)
    for path in Path(directory).glob(f"{begins}*"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def refuse_others(domain: Domain, key: str, execution: str) -> bool:
    """Tell whether the job of this restore point, begun by this execution, runs already.

    Raises:
        ForeignObjectError: when another execution began it.
        DomainBusyError: when another job is in the way.
    """
    if domain.state() is State.OFF or (found := running_job(domain)) is None:
        return False
    name = Path(found).name
    if name == f"quiesce-{key}-{execution}{_SOCKET_SUFFIX}":
        return True
    if name.startswith(f"quiesce-{key}-"):
        raise ForeignObjectError(f"another execution makes this backup of {domain.name} now")
    raise DomainBusyError(f"a backup of {domain.name} runs already, through {found}")


def remove_checkpoint(domain: Domain, name: str) -> None:
    """Remove a checkpoint that exists, even when its bitmaps are lost."""
    try:
        domain.delete_checkpoint(name)
    except NonRecoverableError:
        domain.delete_checkpoint(name, metadata_only=True)


def drop_checkpoints(domain: Domain) -> list[str]:
    """Remove every checkpoint, and its bitmaps, because libvirt does nothing to the disks while there is one.

    Returns:
        Their names. The next backup has nothing to build on, and is a full one.

    Raises:
        UnsupportedError: when one is not ours; nothing was removed.
    """
    known = marks_of_checkpoints(domain)
    foreign = [name for name, mark in known.items() if mark is None]
    if foreign:
        raise UnsupportedError(
            f"{domain.name} has the checkpoints {', '.join(foreign)}, which are not ours and in the way",
            hint="Remove them (virsh checkpoint-delete); their tool's next backup will be a full one.",
        )
    for name in reversed(known):
        if domain.state() is State.OFF:
            domain.delete_checkpoint(name, metadata_only=True)
        else:
            remove_checkpoint(domain, name)
    if known and domain.state() is State.OFF:
        _remove_bitmaps(domain, known)
    return list(known)


def wake(domain: Domain, key: str) -> None:
    """Start a domain that is off, paused, so that its disks can be read; any process can `put_back` it."""
    saved = domain.has_managed_save()
    domain.start(paused=True)
    marks.set_live_marks(domain, replace(marks.live_marks(domain), woken=marks.Woken(key=key, saved=saved)))


def put_back(domain: Domain, key: str) -> bool:
    """Let a domain that was woken for *key* be off again; tell whether it was and is.

    Fine when it was not woken, or runs by now.
    """
    if domain.state() is State.OFF:
        return False
    found = marks.live_marks(domain)
    if found.woken is None or found.woken.key != key:
        return False
    if domain.state() is not State.PAUSED:
        marks.set_live_marks(domain, replace(found, woken=None))
        return False
    if found.woken.saved:
        marks.set_live_marks(domain, replace(found, woken=None))
        domain.save()
    else:
        domain.destroy()
    return True


def _abort(domain: Domain, begins: str) -> None:
    with contextlib.suppress(DomainBusyError):
        found = running_job(domain)
        if found is None or not Path(found).name.startswith(begins):
            return
        domain.abort_job()
        domain.signals.wait_until(lambda: domain.job() is None, 10.0)
        if domain.state() is State.STUCK:
            domain.resume()


def _remove_bitmaps(domain: Domain, names: Iterable[str]) -> None:
    for disk in read_definition(domain.xml()).disks:
        if disk.kind == "file":
            for name in set(qemu_img.info(disk.path).bitmaps) & set(names):
                qemu_img.remove_bitmap(disk.path, name)


def _mark_of(text: str) -> CheckpointMark | None:
    says = xml.text_of(xml.read(text), "description")
    if not says.startswith(_SAYS):
        return None
    try:
        return CheckpointMark(**json.loads(says.removeprefix(_SAYS)))
    except (ValueError, TypeError):
        return None
