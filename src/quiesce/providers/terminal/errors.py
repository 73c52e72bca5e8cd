"""What SSH's errors mean to an operator."""

from __future__ import annotations

from quiesce.errors import NonRecoverableError, OperationTimeoutError, ProviderError, RecoverableError


def unknown_host_key(address: str, detail: str) -> ProviderError:
    """The far side is not known, or not the one we knew."""
    return NonRecoverableError(
        f"{address}: {detail}",
        hint="Check its key and add it to known_hosts (ssh-keyscan shows it), name a file in "
        "terminal_auth.known_hosts, or set terminal_auth.host_key_check: false.",
    )


def refused(address: str, user: str) -> ProviderError:
    """The account is not accepted."""
    return NonRecoverableError(f"{address} does not let {user} in with the password or key given")


def unreachable(address: str, detail: object) -> ProviderError:
    """No connection, or it broke."""
    return RecoverableError(f"{address}: {detail}")


def too_slow(address: str, doing: str) -> ProviderError:
    """No answer came in time."""
    return OperationTimeoutError(f"{address} did not answer in time while {doing}")
