"""The command ``quiesce`` as a shell finds it."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def path_with_quiesce(directory: Path) -> str:
    """Return a PATH on which the command is, in ``bin`` of *directory*."""
    command = directory / "bin" / "quiesce"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m quiesce.cli.main "$@"\n')
    command.chmod(0o755)
    return f"{command.parent}:{os.environ['PATH']}"
