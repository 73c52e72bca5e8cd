"""libvirt's errors in our words, by what can be done next."""

from __future__ import annotations

from typing import Final

from quiesce.errors import (
    CannotFreezeError,
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)

#: libvirt's numbers (virErrorNumber), as far as they mean something to us
NO_SUPPORT: Final = 3
NO_CONNECT: Final = 5
SYSTEM: Final = 38
RPC: Final = 39
NO_DOMAIN: Final = 42
NO_NETWORK: Final = 43
NO_POOL: Final = 49
NO_VOLUME: Final = 50
OPERATION_TIMEOUT: Final = 68
NO_SNAPSHOT: Final = 72
ARGUMENT_UNSUPPORTED: Final = 74
NO_METADATA: Final = 80
OPERATION_UNSUPPORTED: Final = 84
AGENT_UNRESPONSIVE: Final = 86
RESOURCE_BUSY: Final = 87
AGENT_UNSYNCED: Final = 97
NO_CHECKPOINT: Final = 103
NO_BACKUP: Final = 104
CHECKPOINT_INCONSISTENT: Final = 109

_MISSING: Final = {
    NO_DOMAIN,
    NO_NETWORK,
    NO_POOL,
    NO_VOLUME,
    NO_SNAPSHOT,
    NO_CHECKPOINT,
    NO_METADATA,
    NO_BACKUP,
}
_CONNECTION: Final = {SYSTEM, RPC, NO_CONNECT}
_CLOSED: Final = "client socket is closed"


class ConnectionLostError(RecoverableError):
    """libvirtd went away, or cannot be reached."""

    hint = "Check that libvirtd runs and that libvirt_auth names its URI: virsh -c URI list"


class DomainBusyError(RecoverableError):
    """libvirt works on a job of this domain, and allows one at a time."""

    hint = "Wait for the other job, or end it: virsh domjobinfo DOMAIN; virsh domjobabort DOMAIN"


class AgentSilentError(OperationTimeoutError):
    """The guest agent did not answer in time; what it was asked for may still happen."""

    hint = "Look at the guest: is qemu-ga stuck? What it was asked for may happen when it goes on."


class AgentAbsentError(CannotFreezeError):
    """No guest agent listens in the guest; nothing was asked of it."""

    hint = "Install qemu-guest-agent in the guest and let it run, or accept a lower consistency."


class AgentRefusedError(NonRecoverableError):
    """The guest agent answered with an error."""


class InconsistentCheckpointError(NonRecoverableError):
    """The bitmaps behind a checkpoint are lost or cannot be trusted."""

    hint = "Remove the checkpoint (virsh checkpoint-delete --metadata); the next backup will be full."


def translate(number: int | None, message: str, doing: str) -> ProviderError:
    """Return the error that says what failed while *doing* something, and what can be done."""
    text = f"cannot {doing}: {message}"
    if number in _MISSING:
        return ResourceNotFoundError(text)
    if number in _CONNECTION or _CLOSED in message:
        return ConnectionLostError(text)
    if number in {AGENT_UNRESPONSIVE, AGENT_UNSYNCED}:
        return _agent_error(message, text)
    return _other(number, message, text)


def _agent_error(message: str, text: str) -> ProviderError:
    if "not connected" in message:
        return AgentAbsentError(text)
    return AgentSilentError(text)


def _other(number: int | None, message: str, text: str) -> ProviderError:
    if number == ARGUMENT_UNSUPPORTED and "agent" in message:
        return AgentAbsentError(text)
    if "agent command" in message:
        return AgentRefusedError(text)
    return _BY_NUMBER.get(number or 0, NonRecoverableError)(text)


_BY_NUMBER: Final[dict[int, type[ProviderError]]] = {
    NO_SUPPORT: UnsupportedError,
    OPERATION_UNSUPPORTED: UnsupportedError,
    CHECKPOINT_INCONSISTENT: InconsistentCheckpointError,
    OPERATION_TIMEOUT: DomainBusyError,
    RESOURCE_BUSY: DomainBusyError,
}
