"""Switching a domain off while its disks are replaced, and on again, whoever does that."""

from __future__ import annotations

from contextlib import suppress

from quiesce.errors import ProviderError, ResourceNotFoundError
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.provider_kit.power_debt import PowerDebt
from quiesce.providers.libvirt.client import Domain, DomainState
from quiesce.providers.libvirt.job import LibvirtJob


def switch_off(job: LibvirtJob, domain: Domain) -> None:
    """Let the domain be off, without saved memory; what ran is owed its power from now on."""
    debt = PowerDebt(job.state)
    if domain.state() is not DomainState.OFF and _is_in_place(job):
        debt.begin()
    domain.destroy()
    domain.drop_managed_save()
    if debt.is_owed:
        debt.switched_off()


def leave(job: LibvirtJob, domain: Domain, *, running: bool) -> None:
    """Let the restored domain run, or be off; one that did not run before is owed nothing until it does."""
    if running:
        domain.start()
    PowerDebt(job.state).end()


def switch_on(job: LibvirtJob) -> Outcome:
    """Start the domain when a restore has switched it off, and has not come to its end."""
    debt = PowerDebt(job.state)
    if not debt.is_owed:
        return NOTHING
    try:
        domain = job.domain_to_start()
    except ResourceNotFoundError:
        debt.end()
        return Outcome(note="the domain is not there, so there is nothing to switch on")
    if debt.is_going_down:
        with suppress(ProviderError):  # what will not go down runs
            domain.destroy()
    if domain.state() is DomainState.OFF:
        domain.start()
    debt.end()
    return Outcome(note=f"{domain.name} was switched off by a restore and is on again")


def _is_in_place(job: LibvirtJob) -> bool:
    """Tell whether the node's own domain is restored: of another one nobody expects that it runs."""
    return job.new_name is None
