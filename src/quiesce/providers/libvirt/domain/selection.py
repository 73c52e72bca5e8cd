"""Which disks of a domain are saved, and which are restored: all but those that `exclude_disks` names."""

from __future__ import annotations

from collections.abc import Collection

from quiesce.errors import NonRecoverableError, UnsupportedError
from quiesce.providers.libvirt.domain.domain_xml import DomainDefinition, DomainDisk
from quiesce.providers.libvirt.job import LibvirtJob


def disks_to_save(job: LibvirtJob, definition: DomainDefinition) -> list[DomainDisk]:
    """Return the disks that belong into a restore point.

    Raises:
        NonRecoverableError: when a disk is excluded that the domain does not have.
        UnsupportedError: when none is left.
    """
    _require_known(job, definition.name, {disk.target for disk in definition.disks})
    kept = [disk for disk in definition.disks if disk.target not in job.options.exclude_disks]
    if not kept:
        raise UnsupportedError(f"{definition.name} has no disk that could be saved")
    return kept


def require_not_encrypted(disks: Collection[DomainDisk]) -> None:
    """Return when nothing that is encrypted would be written in clear: by a copy, or by an overlay.

    Raises:
        UnsupportedError: when something would.
    """
    encrypted = [disk.target for disk in disks if disk.encrypted]
    if encrypted:
        raise UnsupportedError(
            f"the disks {', '.join(encrypted)} are encrypted, and what is saved of them would be in clear",
            hint="Name them in exclude_disks, encrypt inside the guest, or set snapshot_kind to internal.",
        )


def targets_to_restore(
    job: LibvirtJob, name: str, saved: Collection[str], known: Collection[str]
) -> frozenset[str]:
    """Return which of the *saved* disks are to be put back; *known* are all that the domain has or had.

    Raises:
        NonRecoverableError: when a disk is excluded that the domain never had.
        UnsupportedError: when none is left.
    """
    _require_known(job, name, {*saved, *known})
    kept = frozenset(saved).difference(job.options.exclude_disks)
    if not kept:
        raise UnsupportedError(f"exclude_disks leaves no disk of {name} to restore")
    return kept


def _require_known(job: LibvirtJob, name: str, known: Collection[str]) -> None:
    unknown = sorted(set(job.options.exclude_disks).difference(known))
    if unknown:
        raise NonRecoverableError(
            f"exclude_disks names {', '.join(unknown)}, which {name} does not have",
            hint=f"It has {', '.join(sorted(known))}.",
        )
