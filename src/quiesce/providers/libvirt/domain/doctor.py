"""What `quiesce doctor` finds out about one node, before anything is frozen. Changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from quiesce.errors import ProviderError
from quiesce.ports import Finding
from quiesce.providers.libvirt.client import Domain, DomainState
from quiesce.providers.libvirt.disk import qemu_img
from quiesce.providers.libvirt.domain import agent
from quiesce.providers.libvirt.domain.backup import TPM_NOT_SAVED
from quiesce.providers.libvirt.domain.backup_job import running_job
from quiesce.providers.libvirt.domain.checkpoints import owners_of_checkpoints
from quiesce.providers.libvirt.domain.domain_xml import DomainDefinition, DomainDisk, read_definition
from quiesce.providers.libvirt.domain.metadata import overlay_snapshots
from quiesce.providers.libvirt.domain.overlays import changed_images
from quiesce.providers.libvirt.errors import DomainBusyError
from quiesce.providers.libvirt.job import LibvirtJob

#: through how many files a disk may be read before it is worth a word
_DEEP: Final = 20
_FREEZE_COMMANDS: Final = ("guest-fsfreeze-freeze", "guest-fsfreeze-thaw", "guest-fsfreeze-status")


def examine(job: LibvirtJob, domain: Domain) -> Sequence[Finding]:
    """Return every check made on a domain, passed or not."""
    definition = read_definition(domain.xml())
    disks = [disk for disk in definition.disks if disk.target not in job.options.exclude_disks]
    return [
        _state(domain),
        *_persistence(domain),
        *_agent(domain, definition),
        *_tpm(definition),
        *(_disk(disk) for disk in disks),
        *_space(job, domain, disks),
        *_checkpoints(domain),
        _job(domain),
        *_chain(domain, disks),
    ]


def _state(domain: Domain) -> Finding:
    state = domain.state()
    if state is DomainState.STUCK:
        return Finding(
            check="state",
            passed=False,
            detail=f"{domain.name} is paused because QEMU could not write to a disk",
            remedy=f"Make room on the host, then: virsh resume {domain.name}",
        )
    return Finding(check="state", passed=True, detail=f"{domain.name} is {state.value}")


def _persistence(domain: Domain) -> Iterator[Finding]:
    if not domain.is_persistent():
        yield Finding(
            check="persistent",
            passed=False,
            detail=f"{domain.name} is transient: libvirt forgets it, and its snapshots, when it stops",
            remedy=f"Make it persistent (virsh dumpxml, then virsh define), or make full backups of it and "
            f"stop it before a restore: virsh destroy {domain.name}",
        )


def _agent(domain: Domain, definition: DomainDefinition) -> Iterator[Finding]:
    if not definition.has_agent_channel:
        yield Finding(
            check="agent",
            passed=False,
            detail="there is no channel to a guest agent",
            remedy="Add a virtio channel named org.qemu.guest_agent.0, and qemu-guest-agent in the guest.",
        )
        return
    if domain.state() is not DomainState.RUNNING:
        yield Finding(check="agent", passed=True, detail="there is a channel; asked when the domain runs")
        return
    try:
        commands = _commands(domain)
    except ProviderError as error:
        yield Finding(check="agent", passed=False, detail=str(error), remedy=error.hint)
        return
    yield Finding(check="agent", passed=True, detail="the guest agent answers")
    yield _can_freeze(commands)
    yield _can_thaw_itself(commands)
    yield _frozen(domain)


def _commands(domain: Domain) -> dict[str, bool]:
    answer = domain.agent("guest-info", limit_s=agent.QUESTION_S)
    commands = answer.get("supported_commands") if isinstance(answer, dict) else None
    listed = commands if isinstance(commands, list) else []
    return {str(c["name"]): bool(c.get("enabled")) for c in listed if isinstance(c, dict)}


def _can_freeze(commands: dict[str, bool]) -> Finding:
    missing = [name for name in _FREEZE_COMMANDS if not commands.get(name)]
    if missing:
        return Finding(
            check="freeze",
            passed=False,
            detail=f"the agent does not do {', '.join(missing)}",
            remedy="Take them off the agent's block list (/etc/sysconfig/qemu-ga or /etc/qemu/qemu-ga.conf).",
        )
    return Finding(check="freeze", passed=True, detail="the agent can freeze and thaw file systems")


def _can_thaw_itself(commands: dict[str, bool]) -> Finding:
    if not commands.get("guest-exec"):
        return Finding(
            check="self-thaw",
            passed=False,
            detail="the agent runs no commands, so the guest would not thaw without quiesce",
            remedy="Allow guest-exec in the agent's configuration.",
        )
    return Finding(check="self-thaw", passed=True, detail="the guest can thaw itself by a timer")


def _frozen(domain: Domain) -> Finding:
    if agent.is_frozen(domain):
        return Finding(
            check="frozen",
            passed=False,
            detail="its file systems are frozen now",
            remedy=f"Unless something backs it up now: virsh domfsthaw {domain.name}",
        )
    return Finding(check="frozen", passed=True, detail="its file systems are not frozen")


def _tpm(definition: DomainDefinition) -> Iterator[Finding]:
    if definition.has_tpm:
        yield Finding(
            check="tpm",
            passed=False,
            detail=TPM_NOT_SAVED,
            remedy="Keep the recovery keys of its disks, or save its directory of swtpm while it is off.",
        )


def _disk(disk: DomainDisk) -> Finding:
    check = f"disk {disk.target}"
    if disk.encrypted:
        return Finding(
            check=check,
            passed=False,
            detail="it is encrypted by QEMU, and what is saved of it would be in clear: it is refused",
            remedy=f"Add {disk.target} to exclude_disks, or encrypt inside the guest.",
        )
    if disk.shared:
        return Finding(
            check=check,
            passed=False,
            detail="other machines may write to it (shareable), so freezing this one fixes no moment of it",
            remedy=f"Add {disk.target} to exclude_disks, and back it up from inside a guest.",
        )
    try:
        return _bitmaps(check, qemu_img.info(disk.path, disk.format))
    except ProviderError as error:
        return Finding(check=check, passed=False, detail=str(error), remedy=error.hint)


def _bitmaps(check: str, image: qemu_img.DiskImage) -> Finding:
    if image.keeps_bitmaps:
        return Finding(check=check, passed=True, detail=f"{image.format}: can be backed up incrementally")
    if image.format == "qcow2":
        return Finding(
            check=check,
            passed=False,
            detail="qcow2 of version 2 (compat 0.10): every backup is a full one",
            remedy=f"While the domain is off: qemu-img amend -f qcow2 -o compat=1.1 {image.path}",
        )
    return Finding(
        check=check,
        passed=False,
        detail=f"{image.format}: every backup is a full one, and there are no internal snapshots",
        remedy="Convert it to qcow2 if incremental backups are wanted.",
    )


def _space(job: LibvirtJob, domain: Domain, disks: Sequence[DomainDisk]) -> Iterator[Finding]:
    if not job.resource.is_local:
        yield Finding(
            check="place",
            passed=False,
            detail=f"{job.resource.uri} is another machine: full backups are not possible from here",
            remedy="Run quiesce on that machine, or use snapshots.",
        )
        return
    needed = 0
    for disk in disks:
        try:
            needed += domain.block_sizes(disk.target)[1]
        except ProviderError:
            continue
    if job.repository.url.startswith("/"):
        yield _room(
            "repository", job.repository.url, needed, "Make room there, or choose a repository elsewhere."
        )
    yield _room("scratch", job.options.scratch_dir, needed // 10, "Set scratch_dir to a disk with room.")


def _room(check: str, directory: str, needed: int, remedy: str) -> Finding:
    path = Path(directory)
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    writable = os.access(path, os.W_OK)
    detail = f"{directory}: {free >> 20} MiB free, {needed >> 20} MiB may be needed"
    return Finding(
        check=check,
        passed=writable and free >= needed,
        detail=detail if writable else f"{directory} cannot be written to",
        remedy="" if writable and free >= needed else remedy,
    )


def _checkpoints(domain: Domain) -> Iterator[Finding]:
    known = owners_of_checkpoints(domain)
    foreign = [name for name, owner in known.items() if owner is None]
    if foreign:
        yield Finding(
            check="checkpoints",
            passed=False,
            detail=f"checkpoints of others, in the way of internal snapshots: {', '.join(foreign)}",
            remedy="If their tool is not used any more: virsh checkpoint-delete DOMAIN NAME",
        )
    stale = _stale(domain, [name for name, owner in known.items() if owner is not None])
    if stale:
        yield Finding(
            check="bitmaps",
            passed=False,
            detail=f"checkpoints whose bitmaps are lost: {', '.join(stale)}",
            remedy="Nothing to do: the next incremental backup will be a full one, and replaces them.",
        )
    if not foreign and not stale:
        yield Finding(check="checkpoints", passed=True, detail=f"{len(known)} of ours, none in the way")


def _stale(domain: Domain, names: Sequence[str]) -> list[str]:
    """Return those of *names* whose bitmaps are gone or broken, as far as disks tell that no QEMU has."""
    if domain.state() is not DomainState.OFF or not names:
        return []
    disks = read_definition(domain.xml()).disks
    images = [qemu_img.info(disk.path, disk.format) for disk in disks if disk.kind == "file"]
    kept = {name for image in images for name in image.bitmaps if name not in image.bitmaps_in_use}
    return [name for name in names if name not in kept]


def _job(domain: Domain) -> Finding:
    try:
        found = running_job(domain) if domain.state() is not DomainState.OFF else None
    except DomainBusyError as error:
        return Finding(check="job", passed=False, detail=str(error), remedy=error.hint)
    if found is None:
        return Finding(check="job", passed=True, detail="libvirt works on no job of it")
    return Finding(
        check="job",
        passed=False,
        detail=f"a backup runs, through {found}",
        remedy=f"If nothing makes it any more: virsh domjobabort {domain.name}",
    )


def _changed(domain: Domain) -> Iterator[Finding]:
    snapshots = overlay_snapshots(domain)
    for text in sorted({text for each in snapshots for text in changed_images(each, each.frozen)}):
        yield Finding(
            check="snapshot",
            passed=False,
            detail=text,
            remedy="Somebody wrote or merged into it: remove that restore point, and take a new one.",
        )


def _chain(domain: Domain, disks: Sequence[DomainDisk]) -> Iterator[Finding]:
    kept = {path for snapshot in overlay_snapshots(domain) for path in snapshot.frozen.values()}
    missing = sorted(path for path in kept if not Path(path).exists())
    for path in missing:
        yield Finding(
            check="snapshot",
            passed=False,
            detail=f"{path}, which holds a snapshot, is not there",
            remedy="Bring the file back, or remove that restore point.",
        )
    if not missing:
        yield from _changed(domain)
    deep = (
        [disk.target for disk in disks if len(qemu_img.chain(disk.path, disk.format)) > _DEEP]
        if not missing
        else []
    )
    if deep:
        yield Finding(
            check="chain",
            passed=False,
            detail=f"disks read through more than {_DEEP} files: {', '.join(deep)}",
            remedy="Remove old restore points; their files are merged then.",
        )
