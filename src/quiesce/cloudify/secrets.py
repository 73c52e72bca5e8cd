"""Which values are secrets inside Cloudify, which hands them over like any others.

They are told by where they come from (`get_secret`, as the blueprint has it) and by what their keys are
called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quiesce.app.masking import Masking
from quiesce.app.secret_names import called_secret, texts_in


def know_secrets(
    masking: Masking, written: Mapping[str, Any], properties: Mapping[str, Any], inputs: Mapping[str, Any]
) -> None:
    """Mask from now on what is secret in *properties*, which are *written* so, and in *inputs*."""
    for secret in (*called_secret(properties), *called_secret(inputs), *_from_secrets(written, properties)):
        masking.add(secret)


def _from_secrets(written: Any, value: Any) -> Iterator[str]:
    """Give the texts of *value* that a function made which `get_secret` is a part of."""
    if isinstance(written, Mapping) and isinstance(value, Mapping) and written.keys() == value.keys():
        for key, item in value.items():
            yield from _from_secrets(written[key], item)
    elif isinstance(written, list) and isinstance(value, list) and len(written) == len(value):
        for before, item in zip(written, value, strict=True):
            yield from _from_secrets(before, item)
    elif _mentions_secret(written):
        yield from texts_in(value)


def _mentions_secret(written: Any) -> bool:
    if isinstance(written, Mapping):
        return "get_secret" in written or any(map(_mentions_secret, written.values()))
    return isinstance(written, list | tuple) and any(map(_mentions_secret, written))
