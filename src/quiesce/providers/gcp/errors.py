"""What Compute Engine complains about, in quiesce's errors."""

from __future__ import annotations

from typing import Final

from quiesce.errors import (
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)

_QUOTA_HINT = "Wait, or ask Google for more of this quota; 'quiesce doctor' shows what is left."
_RIGHTS_HINT = (
    "Give the account the role Compute Instance Admin (v1), or see docs/providers/gcp.md for the rights."
)
_TRANSIENT_STATUS: Final = frozenset({408, 412, 429, 500, 502, 503, 504})
#: reasons and operation error codes, with everything but letters left out, that pass by themselves
_TRANSIENT_REASONS: Final = frozenset(
    {
        "backenderror",
        "conditionnotmet",
        "internalerror",
        "operationinprogress",
        "resourceinusebyanotherresource",
        "resourcenotready",
        "resourceoperationrateexceeded",
        "serviceunavailable",
        "zoneresourcepoolexhausted",
        "zoneresourcepoolexhaustedwithdetails",
    }
)
_LIMITS: Final = frozenset(
    {"quotaexceeded", "rateexceeded", "ratelimitexceeded", "userratelimitexceeded", "limitexceeded"}
)
_UNSUPPORTED: Final = frozenset({"unsupportedoperation", "notimplemented", "invalidusage", "unsupported"})
_EXISTING: Final = frozenset({"alreadyexists", "resourcealreadyexists"})
_MISSING: Final = frozenset({"notfound", "resourcenotfound"})


class AlreadyThereError(RecoverableError):
    """An object of the name that was to be made exists; whose it is must be looked at."""


class RefusedError(NonRecoverableError):
    """Compute Engine does not do this with this resource, or not with these values."""


class QuotaError(RecoverableError):
    """A quota or a rate limit is used up for now."""

    hint = _QUOTA_HINT


def problem(status: int, reason: str, message: str, *, retry_after_s: float | None = None) -> ProviderError:
    """Return the error for an HTTP status and Google's reason, or for an operation's error code."""
    kind = "".join(filter(str.isalpha, reason)).lower()
    error = _class_of(status, kind)
    text = f"Compute Engine: {message} [{status} {reason}]"
    forbidden = error is NonRecoverableError and status in (401, 403)
    return error(text, hint=_RIGHTS_HINT if forbidden else None, retry_after_s=retry_after_s)


def _class_of(status: int, kind: str) -> type[ProviderError]:
    """Return the first class whose reasons or statuses fit; the reason says more than the status."""
    rules: tuple[tuple[type[ProviderError], bool], ...] = (
        (AlreadyThereError, kind in _EXISTING),
        (QuotaError, kind in _LIMITS or status == 429),
        (ResourceNotFoundError, kind in _MISSING or (status == 404 and not kind)),
        (UnsupportedError, kind in _UNSUPPORTED or status == 501),
        (RecoverableError, kind in _TRANSIENT_REASONS or status in _TRANSIENT_STATUS),
        (RefusedError, status == 400),
    )
    return next((error for error, fits in rules if fits), NonRecoverableError)


def lost(what: str, *, changes: bool) -> ProviderError:
    """Return the error for a request whose answer never came."""
    if changes:
        return OperationTimeoutError(f"no answer came to {what}; it may have been done all the same")
    return RecoverableError(f"Compute Engine cannot be reached: no answer to {what}")


def no_credentials(error: Exception) -> ProviderError:
    """Return the error for credentials that are missing or refused; quotes nothing of them."""
    return NonRecoverableError(
        f"there are no usable Google credentials ({type(error).__name__})",
        hint="Set gcp_config.auth to a key file, or run 'gcloud auth application-default login'.",
    )
