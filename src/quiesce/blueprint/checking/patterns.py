"""Matches the regular expressions of blueprints within bounded time, however they are written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Final

#: how long one match may take, in seconds
MATCH_S: Final = 2.0
_ENOUGH_CHARS: Final = 1000
_REPEATS: Final = re.compile(r"[*+{]")
_REPEATED_GROUP: Final = re.compile(r"\)[*+?{]")
_MATCH: Final = """
import json, re, sys
pattern, value = json.load(sys.stdin)
sys.exit(0 if re.match(pattern, value) else 3)
"""


class PatternTimeoutError(Exception):
    """A regular expression was not done with a value in time."""


def matches(pattern: str, value: str) -> bool:
    """Tell whether *value* begins with what *pattern* describes.

    Raises:
        PatternTimeoutError: when that is not known after `MATCH_S`.
    """
    if _is_quick(pattern, value):
        return re.match(pattern, value) is not None
    # nothing but another process can be stopped while it matches
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MATCH],
            input=json.dumps([pattern, value]).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=MATCH_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PatternTimeoutError(pattern) from error
    return child.returncode == 0


def _is_quick(pattern: str, value: str) -> bool:
    """Tell whether matching takes at most the square of a bounded length: no group repeats, few things do."""
    few = len(_REPEATS.findall(pattern)) <= 2 and not _REPEATED_GROUP.search(pattern)
    return few and len(value) <= _ENOUGH_CHARS
