"""Our errors in Cloudify's words."""

from __future__ import annotations

import traceback
from typing import cast

from cloudify.exceptions import NonRecoverableError, RecoverableError

from quiesce.app.masking import Masking, masked_error
from quiesce.errors import ProviderError, QuiesceError


def in_cloudifys_words(masking: Masking, error: Exception) -> Exception:
    """Return the exception that makes Cloudify's engine do what *error* means, without a secret.

    Cloudify keeps and shows the message and the whole traceback: with its causes only where none of them
    repeats a secret.
    """
    is_clean = _is_clean(masking, error)
    if not isinstance(error, QuiesceError):
        shown = RecoverableError(masking.text(f"{type(error).__name__}: {error}"))
        return error if is_clean else cast(Exception, shown)
    masked_error(masking, error)
    message = in_one_line(error)
    told: Exception = NonRecoverableError(message)
    if isinstance(error, ProviderError) and error.retryable:
        told = RecoverableError(message, retry_after=error.retry_after_s)
    told.__cause__ = error if is_clean else None
    return told


def in_one_line(error: QuiesceError) -> str:
    """Return what *error* says and what can be done, for Cloudify, which shows one message."""
    return f"{error}. {error.hint}" if error.hint else str(error)


def _is_clean(masking: Masking, error: Exception) -> bool:
    text = "".join(traceback.format_exception(error))
    return masking.text(text) == text
