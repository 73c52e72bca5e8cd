"""From what an operator writes to a storage that is ready to be used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from quiesce.errors import UnsupportedError
from quiesce.ports.storage import Storage
from quiesce.storage.directory import DirectoryStorage
from quiesce.storage.retrying import Patience, RetryingStorage
from quiesce.storage.throttled import Limits, ThrottledStorage
from quiesce.storage.urls import StorageUrl, parse_url

#: by scheme: the module and function that open it, and the extra that brings what they import
_OPENERS: Final[Mapping[str, tuple[str, str, str]]] = {
    "s3": ("quiesce.storage.bucket_clients", "open_bucket", "cloud"),
    "gs": ("quiesce.storage.bucket_clients", "open_bucket", "cloud"),
    "az": ("quiesce.storage.bucket_clients", "open_bucket", "cloud"),
    "sftp": ("quiesce.storage.sftp", "open_sftp", "ssh"),
}


def open_storage(
    url: str,
    secret: Callable[[str], str],
    *,
    limits: Limits | None = None,
    patience: Patience | None = None,
) -> Storage:
    """Return the storage at *url*, which asks again for a while where a network is between.

    Nothing is asked of it yet. *secret* gives the value of the secret that the URL names, if it names one.

    Raises:
        UsageError: the URL or the secret is not one that there can be.
        UnsupportedError: what it needs is not installed.
    """
    parsed = parse_url(url)
    storage = _opened(parsed, secret)
    if parsed.scheme:
        storage = RetryingStorage(storage, patience=patience)
    return ThrottledStorage(storage, limits) if limits is not None else storage


def _opened(url: StorageUrl, secret: Callable[[str], str]) -> Storage:
    if not url.scheme:
        return DirectoryStorage(Path(url.path))
    module, function, extra = _OPENERS[url.scheme]
    try:
        opener = getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise UnsupportedError(
            f"{url.scheme}: URLs need what is not installed ({error.name})",
            hint=f"pip install 'quiesce[{extra}]'",
        ) from error
    storage: Storage = opener(url, secret(url.credentials) if url.credentials else None)
    return storage
