"""Where the files lie that run inside a child."""

from __future__ import annotations

from pathlib import Path
from typing import Final

RUNTIME: Final = Path(__file__).parent / "runtime"
BIN: Final = RUNTIME / "bin"
#: what a Python process started by a script needs, to find its ``ctx``
PYTHON_PATH: Final = (RUNTIME / "link", RUNTIME / "stand_in")
