"""The job by which QEMU serves a domain's disks as they were at the cut: begun, found again, ended.

Its socket's name says whose it is, so that any process finds what another one left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.provider_kit.ownership import OwnerKey, claim
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.client import Domain, DomainState
from quiesce.providers.libvirt.domain.checkpoints import checkpoint_xml
from quiesce.providers.libvirt.domain.domain_xml import DomainDisk
from quiesce.providers.libvirt.domain.metadata import StartedToRead, live_metadata, set_live_metadata
from quiesce.providers.libvirt.errors import DomainBusyError
from quiesce.providers.libvirt.job import LibvirtJob

_SOCKET_SUFFIX: Final = ".sock"
#: what the kernel allows
_LONGEST_SOCKET: Final = 107
_PREFIX: Final = "quiesce"


def socket_path(job: LibvirtJob) -> Path:
    """Return where the disks of the call are served: what names the job, too.

    Raises:
        NonRecoverableError: when that is more than a socket's name may be.
    """
    directory = job.options.scratch_dir
    path = Path(directory) / f"{_PREFIX}-{job.key.point}-{job.key.execution}{_SOCKET_SUFFIX}"
    if len(str(path)) > _LONGEST_SOCKET:
        raise NonRecoverableError(
            f"scratch_dir {directory} is too long: a socket's name may have {_LONGEST_SOCKET} letters",
            hint="Set scratch_dir to a shorter path on a disk with room.",
        )
    return path


def begin(
    job: LibvirtJob, domain: Domain, disks: Sequence[DomainDisk], *, since: str | None, follow: bool
) -> None:
    """Begin to serve the disks as they are at this instant, with what changed since checkpoint *since*.

    With *follow*, a checkpoint of the call's name follows their changes from this instant on.
    """
    excluded = sorted(job.options.exclude_disks)
    socket = socket_path(job)
    told = xml.element("domainbackup", mode="pull")
    if since:
        xml.add(told, "incremental", since)
    xml.add(told, "server", transport="unix", socket=str(socket))
    listed = xml.add(told, "disks")
    for disk in disks:
        entry = xml.add(listed, "disk", name=disk.target, backup="yes", type="file", exportname=disk.target)
        if since:
            entry.set("exportbitmap", bitmap_of(since))
        xml.add(entry, "driver", type="qcow2")
        xml.add(entry, "scratch", file=str(socket.with_name(f"{socket.stem}-{disk.target}.scratch")))
    for target in excluded:
        xml.add(listed, "disk", name=target, backup="no")
    domain.begin_backup(xml.write(told), checkpoint_xml(job.owner, disks, excluded) if follow else None)


def bitmap_of(checkpoint: str) -> str:
    """Return the name under which the changes since *checkpoint* are served."""
    return f"since-{checkpoint}"


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
    if domain.state() is not DomainState.OFF and (found := running_job(domain)) is not None:
        raise DomainBusyError(f"a backup of {domain.name} runs already, through {found}")


def is_running(job: LibvirtJob, domain: Domain) -> bool:
    """Tell whether the call's own job runs.

    Raises:
        ForeignObjectError: when another execution began it.
        DomainBusyError: when another job is in the way.
    """
    if domain.state() is DomainState.OFF or (found := running_job(domain)) is None:
        return False
    key = _key_in(found)
    if key is None or key.point != job.key.point:
        raise DomainBusyError(f"a backup of {domain.name} runs already, through {found}")
    claim(job.call, key, f"the backup job of {domain.name}")
    return True


def end(job: LibvirtJob, domain: Domain | None) -> None:
    """End the call's job, remove its socket and scratch files; fine when none is there.

    An undo ends what its own execution began, everybody else what any did for the restore point.
    Without a domain only the files go.
    """
    begins = f"{_PREFIX}-{job.key.point}-" + (job.key.execution if job.call.undo else "")
    if domain is not None and domain.state() is not DomainState.OFF:
        _abort(job, domain, begins)
    for path in Path(job.options.scratch_dir).glob(f"{begins}*"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def start_to_read(domain: Domain, key: str) -> None:
    """Start a domain that is off, paused, so that its disks can be read; any process can `stop_reading`."""
    saved = domain.has_managed_save()
    domain.start(paused=True)
    set_live_metadata(domain, replace(live_metadata(domain), started=StartedToRead(key=key, saved=saved)))


def stop_reading(domain: Domain, key: str) -> bool:
    """Let a domain that was started to be read for *key* be off again; tell whether it was and is.

    Fine when it was not started so, or runs by now.
    """
    if domain.state() is DomainState.OFF:
        return False
    found = live_metadata(domain)
    if found.started is None or found.started.key != key:
        return False
    if domain.state() is not DomainState.PAUSED:
        set_live_metadata(domain, replace(found, started=None))
        return False
    if found.started.saved:
        set_live_metadata(domain, replace(found, started=None))
        domain.save()
    else:
        domain.destroy()
    return True


def _abort(job: LibvirtJob, domain: Domain, begins: str) -> None:
    with contextlib.suppress(DomainBusyError):
        found = running_job(domain)
        if found is None or not Path(found).name.startswith(begins):
            return
        domain.abort_job()
        job.wait_until(domain, lambda: domain.job() is None, f"the end of the backup job of {domain.name}")
        if domain.state() is DomainState.STUCK:
            domain.resume()


def _key_in(socket: str) -> OwnerKey | None:
    """Return whose job serves at *socket*."""
    parts = Path(socket).name.removesuffix(_SOCKET_SUFFIX).split("-")
    if len(parts) != 3 or parts[0] != _PREFIX:
        return None
    return OwnerKey(point=parts[1], execution=parts[2])
