"""Markers for operations; they change nothing here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def operation(function: Callable[..., Any] | None = None, resumable: bool = False, **_: object) -> Any:
    """Mark *function* as an operation."""
    if function is None:
        return lambda marked: operation(marked, resumable=resumable)
    function.resumable = resumable  # type: ignore[attr-defined]
    return function


task = operation
workflow = operation
