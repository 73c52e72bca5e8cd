"""Our errors in Cloudify's words."""

from __future__ import annotations

from cloudify.exceptions import NonRecoverableError, RecoverableError

from quiesce.errors import ProviderError, QuiesceError


def in_cloudifys_words(error: QuiesceError) -> Exception:
    """Return the exception that makes Cloudify's engine do what *error* means."""
    message = f"{error} {error.hint}".strip()
    if isinstance(error, ProviderError) and error.retryable:
        recoverable: Exception = RecoverableError(message, retry_after=error.retry_after_s)
        return recoverable
    final: Exception = NonRecoverableError(message)
    return final
