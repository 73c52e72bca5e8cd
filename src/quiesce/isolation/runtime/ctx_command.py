"""The `ctx` command of shell scripts: ``ctx [-j] [--json-arg-prefix C] WORD...``.

The words name a way through `ctx`: attributes, then a key, or a call's arguments. A word that begins with
``@`` is JSON. Kept quick to start: a script may call it in every line.
"""

from __future__ import annotations

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(_HERE, "link"), os.path.join(_HERE, "stand_in")]

import json
from collections.abc import Callable
from typing import Any

from cloudify._context import ScriptContext, StoppedError
from cloudify._paths import read_path, write_path
from quiesce_link import LinkError, connect

_TAKES_VALUE = {"-t", "--timeout", "--socket-url", "--json-arg-prefix"}
_LEVELS = {"debug", "info", "warning", "warn", "error", "critical", "exception"}


def main(arguments: list[str]) -> int:
    """Run one command line and print its answer, without a newline."""
    as_json, prefix, words = _options(arguments)
    try:
        answer = _follow([_word(word, prefix) for word in words])
    except (LinkError, StoppedError, LookupError, AttributeError, TypeError, ValueError, OSError) as error:
        sys.stderr.write(f"ctx: {error}\n")
        return 1
    sys.stdout.write(json.dumps(answer, default=str) if as_json else str(answer or ""))
    return 0


def _options(arguments: list[str]) -> tuple[bool, str, list[str]]:
    as_json, prefix, rest = False, "@", list(arguments)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--":
            break
        name, given, value = option.partition("=")
        if name in ("-j", "--json-output"):
            as_json = True
        elif name in _TAKES_VALUE:
            value = value if given else (rest.pop(0) if rest else "")
            prefix = value if name == "--json-arg-prefix" else prefix
        else:
            raise SystemExit(f"ctx: unknown option {option}")
    return as_json, prefix, rest


def _word(word: str, prefix: str) -> object:
    return json.loads(word[len(prefix) :]) if prefix and word.startswith(prefix) else word


def _follow(words: list[object]) -> object:
    link = connect()
    if len(words) > 1 and words[0] == "logger" and words[1] in _LEVELS:
        return link.ask("log", level=words[1], message=" ".join(map(str, words[2:])))
    context = ScriptContext(link)
    answer = _walk(context, words)
    context.instance.update()
    return answer


def _walk(current: object, words: list[object]) -> object:
    for index, word in enumerate(words):
        name = _attribute(current, word)
        if name:
            current = getattr(current, name)
        elif isinstance(current, dict):
            return _entry(current, words[index:])
        elif callable(current):
            return _call(current, words[index:])
        else:
            raise AttributeError(f"there is no {word!r} in {' '.join(map(str, words[:index])) or 'ctx'}")
    return _call(current, []) if callable(current) else current


def _attribute(current: object, word: object) -> str:
    if not isinstance(word, str) or word.startswith("_") or isinstance(current, dict):
        return ""
    return next((name for name in (word, word.replace("-", "_")) if hasattr(current, name)), "")


def _entry(mapping: dict[str, object], words: list[object]) -> object:
    match words:
        case [key]:
            return read_path(mapping, str(key))
        case [key, value]:
            write_path(mapping, str(key), value)
            return None
        case _:
            raise LookupError("a key and at most one value can follow")


def _call(function: Callable[..., object], words: list[Any]) -> object:
    name = getattr(function, "__name__", "")
    keywords = words.pop() if words and isinstance(words[-1], dict) and name != "returns" else {}
    answer = function(*words, **keywords)
    if isinstance(answer, StoppedError):
        raise answer
    return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
