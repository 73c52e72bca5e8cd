"""Clients of S3, Google Cloud Storage and Azure, from a URL and the secret that it names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from quiesce.errors import UsageError
from quiesce.storage.bucket import BucketStorage, Store
from quiesce.storage.urls import StorageUrl

#: for one whole request: 16 MiB within it are 56 KiB/s
_REQUEST: Final = timedelta(minutes=5)
_CONNECT: Final = timedelta(seconds=15)
#: requests that change something are repeated by the wrapper `Retrying`, which knows what that means
_NEVER: Final = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
#: a page of a listing may be asked for again without further thought
_PAGES: Final = {"max_retries": 8, "retry_timeout": timedelta(minutes=2)}


def open_bucket(
    url: StorageUrl, secret: str | None, *, headers: Mapping[str, str] | None = None
) -> BucketStorage:
    """Return the storage that *url* names. *secret* is what the secret says that it names.

    *headers* go with every request, unsigned; stand-ins of stores want some.
    """
    make = _MAKERS[url.scheme]
    client = _client_options(url, headers or {})
    try:
        return BucketStorage(
            store=make(url, secret, client_options=client, retry_config=_NEVER),
            lister=make(url, secret, client_options=client, retry_config=_PAGES),
            location=str(url),
        )
    except (BaseError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"{url} cannot be used: {reason}", hint="See docs/storage.md for credentials and options."
        ) from None


def _s3(url: StorageUrl, secret: str | None, **more: Any) -> S3Store:
    config: dict[str, Any] = {
        # what buckets with object lock want to see
        "checksum_algorithm": "sha256",
        # one by one: whatever is refused is then said of the object that it concerns
        "disable_bulk_delete": True,
        "virtual_hosted_style_request": url.options.get("addressing") == "virtual",
    }
    config |= {name: url.options[name] for name in ("endpoint", "region") if name in url.options}
    if secret is not None:
        keys = _fields(secret, {"access_key_id", "secret_access_key"}, {"session_token"}, url)
        given = {
            "access_key_id": keys["access_key_id"],
            "secret_access_key": keys["secret_access_key"],
            "token": keys.get("session_token"),
            "expires_at": None,
        }
        more["credential_provider"] = lambda: given
    return S3Store(url.host, prefix=url.path or None, config=config, **more)


def _gs(url: StorageUrl, secret: str | None, **more: Any) -> GCSStore:
    config: dict[str, Any] = {}
    if "endpoint" in url.options:
        config["base_url"] = url.options["endpoint"]
    if secret is not None:
        _fields(secret, {"client_email", "private_key"}, None, url)
        config["service_account_key"] = secret
    return GCSStore(url.host, prefix=url.path or None, config=config, **more)


def _az(url: StorageUrl, secret: str | None, **more: Any) -> AzureStore:
    config: dict[str, Any] = {}
    if "account" in url.options:
        config["account_name"] = url.options["account"]
    if "endpoint" in url.options:
        config["endpoint"] = url.options["endpoint"]
    if secret is not None:
        keys = _fields(secret, set(), {"account_key", "sas_token"}, url)
        config |= (
            {"sas_key": keys["sas_token"]} if "sas_token" in keys else {"account_key": keys["account_key"]}
        )
    return AzureStore(url.host, prefix=url.path or None, config=config, **more)


_MAKERS: Final[Mapping[str, Callable[..., Store]]] = {"s3": _s3, "gs": _gs, "az": _az}


def _client_options(url: StorageUrl, headers: Mapping[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "timeout": _REQUEST,
        "connect_timeout": _CONNECT,
        "allow_http": url.options.get("endpoint", "").startswith("http://"),
    }
    if headers:
        options["default_headers"] = dict(headers)
    if "ca" in url.options:
        try:
            options["root_certificate"] = Path(url.options["ca"]).read_bytes()
        except OSError as error:
            raise UsageError(f"{url.options['ca']} cannot be read: {error.strerror}") from None
    return options


def _fields(secret: str, needed: set[str], others: set[str] | None, url: StorageUrl) -> dict[str, str]:
    """Return the JSON object that a secret is. What it holds is never repeated."""
    try:
        content = json.loads(secret)
    except ValueError:
        content = None
    wanted = sorted(needed | (others or set()))
    right = isinstance(content, dict) and needed <= set(content) and bool(set(content) & set(wanted))
    if not right or (others is not None and not set(content) <= set(wanted)):
        raise UsageError(
            f"the secret {url.credentials!r} is not a JSON object with {', '.join(wanted)}",
            hint="See docs/storage.md for what each kind of storage wants.",
        )
    return {name: str(value) for name, value in content.items()}
