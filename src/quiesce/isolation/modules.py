"""Modules of ours as programs of their own."""

from __future__ import annotations

import sys


def own_command(module: str, *arguments: str) -> list[str]:
    """Return what runs a *module* of ours: never one that lies in the working directory instead."""
    return [sys.executable, "-P", "-m", module, *arguments]
