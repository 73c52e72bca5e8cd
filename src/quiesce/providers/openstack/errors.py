"""Which of our errors an answer of OpenStack means."""

from __future__ import annotations

import re
from typing import Final

from quiesce.errors import (
    NonRecoverableError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)

_QUOTA: Final = re.compile(r"quota|limitexceeded|maximum number|exceed", re.IGNORECASE)
#: Neutron says so with the status of what passes by itself (neutron_lib/exceptions: OverQuota is a Conflict)
_OVER_QUOTA: Final = re.compile(r"quota exceeded", re.IGNORECASE)
_LATER: Final = frozenset({408, 409, 413, 425, 429, 500, 502, 503, 504})
#: Nova: no waiting helps an instance out of a vm_state; Cinder: says "busy" as a bad request
_FOR_EVER: Final = re.compile(r"while it is in vm_state|while the instance is in vm_state")
_LOCKED: Final = re.compile(r"Instance \S+ is locked")
_BUSY: Final = re.compile(r"status must be|must be available", re.IGNORECASE)
_SILENT_AGENT: Final = (
    "Start the guest agent in the guest: the server's image demands it (os_require_quiesce), so Nova makes "
    "no snapshot without."
)


class QuotaExceededError(NonRecoverableError):
    """The project has no room for another object of this kind."""

    code = "quota-exceeded"
    hint = "Remove what is not needed ('quiesce remove-backup'), or have the quota raised; then run again."


class NotAllowedError(NonRecoverableError):
    """The cloud does not let this user do it."""

    code = "not-allowed"
    hint = "Give the user the right, or use other credentials; 'quiesce doctor' checks them."


def error_of(status: int, message: str, *, asked: str, retry_after_s: float | None = None) -> ProviderError:
    """Return the error that HTTP *status* means for a request described by *asked*."""
    text = f"{asked}: {message} (HTTP {status})"
    if _says_quota(status, message):
        return QuotaExceededError(text)
    if status in (401, 403):
        return NotAllowedError(text)
    if status in (404, 410):
        return ResourceNotFoundError(text)
    return _retryable_or_not(status, text, retry_after_s)


def _says_quota(status: int, message: str) -> bool:
    if status == 409:
        return bool(_OVER_QUOTA.search(message))
    return status in (403, 413) and bool(_QUOTA.search(message))


def _retryable_or_not(status: int, text: str, retry_after_s: float | None) -> ProviderError:
    if status == 409 and _LOCKED.search(text):
        return NonRecoverableError(text, hint="Somebody has locked it: 'openstack server unlock ID'.")
    busy = status == 400 and _BUSY.search(text)
    if busy or (status in _LATER and not _FOR_EVER.search(text)):
        hint = _SILENT_AGENT if "Failed to quiesce" in text else None
        return RecoverableError(text, retry_after_s=retry_after_s, hint=hint)
    if status in (406, 501):
        return UnsupportedError(text, hint="This cloud's services are too old, or lack this function.")
    return NonRecoverableError(text)
