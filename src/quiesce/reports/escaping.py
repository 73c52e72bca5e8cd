"""What others named or answered, made harmless for a terminal: nothing in it moves, colours or reorders."""

from __future__ import annotations

import re
from typing import Final

#: control characters (C1 too: one of them begins a sequence as ESC [ does), marks that reorder or hide text,
#: line ends of other alphabets, and halves of characters, which cannot be printed at all
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
#: what a line that goes on begins with, so that it cannot be taken for one of ours
_CONTINUED: Final = "\n    "


def printable(text: str) -> str:
    """Return *text* for one line: what a terminal would act upon is shown as an escape, line ends too."""
    return _UNPRINTABLE.sub(_shown, text)


def printable_lines(text: str) -> str:
    """Return *text* with its lines kept, each but the first indented; the rest as `printable` does."""
    return _CONTINUED.join(printable(line) for line in text.split("\n"))


def printable_block(text: str) -> str:
    """Return *text* that we laid out ourselves: line ends and tabs stay, the rest as `printable` does."""
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in "\n\t" else _shown(found), text)


def escaped_json(text: str) -> str:
    """Return the JSON *text*, which means the same, without what a terminal would act upon."""
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] == "\n" else _in_json(found[0]), text)


def _shown(found: re.Match[str]) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(found[0]) or _escape(ord(found[0]))


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _in_json(character: str) -> str:
    """Escape *character* as JSON does: above the first 65,536 in two halves."""
    halves = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{halves[n : n + 2].hex()}" for n in range(0, len(halves), 2))
