"""Freezing and thawing through the guest agent, never without a time limit.

What a frozen agent answers: ping, info, sync, freeze status and thaw, nothing else. A freeze whose answer
did not come in time is carried out later all the same, when a stuck agent goes on. So a freeze is preceded
by a question that changes nothing, and a thaw is over only when the agent says ``thawed``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from quiesce.errors import CannotFreezeError, OperationTimeoutError, ProviderError, RecoverableError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.providers.libvirt.client import Domain, DomainState, OffReason
from quiesce.providers.libvirt.domain.domain_xml import read_definition
from quiesce.providers.libvirt.domain.metadata import GuestFreeze, live_metadata, set_live_metadata
from quiesce.providers.libvirt.errors import AgentAbsentError, AgentSilentError
from quiesce.providers.libvirt.job import LibvirtJob

#: how long an agent may take to answer a question that costs it nothing
QUESTION_S: Final = 5.0
#: longest pause between two attempts to thaw
_LONGEST_PAUSE_S: Final = 0.5
#: thaws every file system from inside the kernel and touches no disk: all it needs is running already
_TIMER_SCRIPT: Final = 'sleep "$1"; echo j > /proc/sysrq-trigger'
_TIMER_NAME: Final = "quiesce-thaw"


def freeze(job: LibvirtJob, domain: Domain) -> Outcome:
    """Freeze all file systems of the guest, or those that are mounted where the options say.

    Raises:
        CannotFreezeError: when there is no way to, and nothing was frozen.
        OperationTimeoutError: when the agent was asked and did not answer; it may freeze later.
    """
    if domain.state() is DomainState.OFF:
        return _at_rest(domain)
    _require_agent(domain)
    if _status(domain, QUESTION_S) == "frozen":
        return NOTHING
    thaw_after_s = job.call.thaw_after_s
    timer, note = _arm(domain, thaw_after_s)
    until = time.monotonic() + (thaw_after_s or 0.0) if timer is not None else None
    frozen = GuestFreeze(execution=job.call.execution, timer=timer, until=until, boot=_boot())
    _remember(domain, frozen)
    mountpoints = job.options.mountpoints
    limit_s = min(job.options.freeze_timeout, max(1.0, job.context.remaining_s()))
    count = _ask_to_freeze(domain, mountpoints, limit_s)
    if count < max(1, len(set(mountpoints))):
        thaw(job, domain)
        raise CannotFreezeError(_too_few(domain, count, mountpoints))
    return Outcome(note=note)


def thaw(job: LibvirtJob, domain: Domain) -> Outcome:
    """Return when the guest is known to be thawed, however often that takes asking.

    Raises:
        ProviderError: when that could not be brought about in `Context.remaining_s`.
    """
    thawed = _ask_until_thawed(job, domain)
    _disarm(domain)
    _remember(domain, None)
    return thawed


def is_frozen(domain: Domain) -> bool | None:
    """Tell whether the guest is frozen; None when there is nobody to tell.

    The agent itself does not notice that the guest's timer has thawed it.
    """
    if _cannot_be_frozen(domain):
        return None
    freeze = live_metadata(domain).freeze
    if freeze is not None and _has_timed_out(freeze):
        return False
    try:
        return _status(domain, QUESTION_S) == "frozen"
    except ProviderError:
        return None


def _has_timed_out(freeze: GuestFreeze) -> bool:
    """Tell whether the guest's timer has thawed it, as far as this machine's clock can tell."""
    return freeze.until is not None and freeze.boot == _boot() and time.monotonic() > freeze.until


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _cannot_be_frozen(domain: Domain) -> bool:
    """Tell whether no freeze of ours can be in force: its QEMU does not run, or was never asked to."""
    state = domain.state()
    if state is DomainState.OFF or not read_definition(domain.xml(live=True)).has_agent_channel:
        return True
    return state is not DomainState.RUNNING and live_metadata(domain).freeze is None


def _at_rest(domain: Domain) -> Outcome:
    clean = domain.why_off() is OffReason.SHUT_DOWN
    return Outcome(
        consistency=Consistency.FILESYSTEM if clean else Consistency.CRASH,
        note="it is off, so nothing writes" + ("" if clean else "; it was not shut down by its guest"),
    )


def _require_agent(domain: Domain) -> None:
    if domain.state() is not DomainState.RUNNING:
        raise CannotFreezeError(
            f"{domain.name} is paused, so its agent cannot answer",
            hint="Resume it first, or accept what a paused machine's disks are worth: crash consistency.",
        )
    if not read_definition(domain.xml(live=True)).has_agent_channel:
        raise AgentAbsentError(
            f"{domain.name} has no channel to a guest agent",
            hint="Add <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel> "
            "to its definition and install qemu-guest-agent in the guest.",
        )


def _status(domain: Domain, limit_s: float) -> Json:
    try:
        return domain.agent("guest-fsfreeze-status", limit_s=limit_s)
    except AgentSilentError as error:
        raise CannotFreezeError(str(error), hint=error.hint) from error


def _ask_to_freeze(domain: Domain, mountpoints: Sequence[str], limit_s: float) -> int:
    if mountpoints:
        listed: list[Json] = [*sorted(set(mountpoints))]
        count = domain.agent("guest-fsfreeze-freeze-list", {"mountpoints": listed}, limit_s=limit_s)
    else:
        count = domain.agent("guest-fsfreeze-freeze", limit_s=limit_s)
    return count if isinstance(count, int) else 0


def _too_few(domain: Domain, count: int, mountpoints: Sequence[str]) -> str:
    if not mountpoints:
        return f"the agent of {domain.name} froze no file system"
    return f"the agent of {domain.name} froze {count} file systems for {', '.join(sorted(set(mountpoints)))}"


def _ask_until_thawed(job: LibvirtJob, domain: Domain) -> Outcome:
    attempt, told = 0, ""
    while True:
        try:
            return _thaw_once(domain, min(QUESTION_S, max(1.0, job.context.remaining_s())))
        except ProviderError as error:
            if _cannot_be_frozen(domain):
                return NOTHING
            if isinstance(error, AgentAbsentError) and live_metadata(domain).freeze is None:
                return Outcome(note="no agent answers, and nothing was frozen since it was started")
            if str(error) != told:
                told = str(error)
                job.warn(f"not thawed yet: {told}")
            attempt += 1
            _pause(job, domain, attempt, error)


def _pause(job: LibvirtJob, domain: Domain, attempt: int, error: ProviderError) -> None:
    """Wait before asking again, as long as anybody waits for the answer."""
    try:
        job.deadline("the thaw").back_off(attempt, _LONGEST_PAUSE_S)
    except OperationTimeoutError:
        hint = error.hint
        if domain.state() is not DomainState.RUNNING:
            hint = f"It is paused: let it run, and it can be thawed: virsh resume {domain.name}"
        raise RecoverableError(f"{domain.name} may still be frozen: {error}", hint=hint) from error


def _thaw_once(domain: Domain, limit_s: float) -> Outcome:
    domain.agent("guest-fsfreeze-thaw", limit_s=limit_s)
    after = domain.agent("guest-fsfreeze-status", limit_s=limit_s)
    if after != "thawed":
        raise RecoverableError(f"the agent of {domain.name} still says {after}")
    return NOTHING


def _arm(domain: Domain, thaw_after_s: float | None) -> tuple[int | None, str]:
    """Start the guest's own timer; without one, say so."""
    if thaw_after_s is None:
        return None, ""
    command: dict[str, Json] = {
        "path": "/bin/sh",
        "arg": ["-c", _TIMER_SCRIPT, _TIMER_NAME, f"{max(1.0, thaw_after_s):.0f}"],
    }
    try:
        answer = domain.agent("guest-exec", command, limit_s=QUESTION_S)
    except AgentSilentError as error:
        raise CannotFreezeError(str(error), hint=error.hint) from error
    except ProviderError as error:
        return None, f"the guest has no timer of its own that would thaw it: {error}"
    pid = answer.get("pid") if isinstance(answer, dict) else None
    return (pid if isinstance(pid, int) else None), ""


def _disarm(domain: Domain) -> None:
    freeze = live_metadata(domain).freeze
    if freeze is None or freeze.timer is None:
        return
    script = 'grep -q "$2" "/proc/$1/cmdline" && kill "$1"'
    command: dict[str, Json] = {
        "path": "/bin/sh",
        "arg": ["-c", script, "quiesce", str(freeze.timer), _TIMER_NAME],
    }
    with contextlib.suppress(ProviderError):
        domain.agent("guest-exec", command, limit_s=QUESTION_S)


def _remember(domain: Domain, freeze: GuestFreeze | None) -> None:
    if domain.state() is not DomainState.OFF:
        set_live_metadata(domain, replace(live_metadata(domain), freeze=freeze))
