"""Replaces every secret that was resolved by a mask, in whatever way a device or a message repeats it.

One object knows all secrets of a process. Whatever leaves an operation (log lines, notes, results, errors)
goes through it before it is stored or shown.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, quote_plus

from quiesce.app.secret_names import called_secret
from quiesce.errors import QuiesceError
from quiesce.model.outcome import Outcome

MASK: Final = "******"
#: shorter values are no secrets: to mask them would make every message unreadable
LEAST_CHARS: Final = 4
#: longer texts are shortened to twice `_KEPT_CHARS`
MOST_CHARS: Final = 65536
_KEPT_CHARS: Final = 16384
#: how much of a secret at the end or the beginning of a line is masked: the rest is on another line
_PIECE_CHARS: Final = 4
#: a line that is nothing but so much of the middle of a secret is masked
_MIDDLE_CHARS: Final = 8
#: what may stand between two characters of a secret that a device wrapped; bounded, so that it is quick
_BREAK: Final = r"(?:[ \t\b]{0,4}(?:\r|\n|\\r|\\n|\x1b\[[0-9;?]{0,16}[A-Za-z])[ \t]{0,16}){1,4}"
#: what is left out to see quickly whether a secret can be in a text at all
_BREAKS: Final = re.compile(r"[\s\b]+|\x1b\[[0-9;?]{0,16}[A-Za-z]")
_WRITTEN_BREAKS: Final = re.compile(r"\\[rn]")
#: what stands before a line of a script's output
_PREFIX: Final = re.compile(r"(?:<(?:out|err)> )?[ \t]*")
#: messages are masked to this depth of nesting only; what is deeper is left out
_DEPTH: Final = 64


class Masking:
    """The secrets of a process. Safe from many threads; `text` masks what was added before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: the forms of every secret, longest first, each with what finds it when it is wrapped
        self._forms: tuple[tuple[str, re.Pattern[str]], ...] = ()

    def add(self, secret: str) -> None:
        """Mask *secret* from now on; of one with many lines each, of one in JSON what is secret there."""
        parts = {line for text in (secret, *called_secret(secret)) for line in (text, *text.splitlines())}
        forms = {form for part in parts for form in _forms(part.strip())}
        with self._lock:
            known = {form for form, _ in self._forms}
            added = [(form, _wrapped(form)) for form in forms - known]
            self._forms = tuple(sorted((*self._forms, *added), key=lambda each: -len(each[0])))

    def text(self, text: str) -> str:
        """Return *text* without any secret, and without the pieces of one at its beginning or end.

        Of one that is very long the first and the last part are kept: it is going to be stored.
        """
        if len(text) <= MOST_CHARS:
            return self._masked(text)
        first, last = text[:_KEPT_CHARS], text[-_KEPT_CHARS:]
        left_out = f"\n... {len(text) - 2 * _KEPT_CHARS} characters left out ...\n"
        return self._masked(first) + left_out + self._masked(last)

    def _masked(self, text: str) -> str:
        forms = self._forms
        if not forms or not text:
            return text
        joined = _joined(text)
        for form, pattern in forms:
            if form in text or _joined(form) in joined:
                text = pattern.sub(MASK, text)
        return _without_pieces(text, [form for form, _ in forms])

    def value(self, value: Any, depth: int = 0) -> Any:
        """Return *value*, plain data, with every text in it masked."""
        if isinstance(value, str):
            return self.text(value)
        if depth >= _DEPTH:
            return None
        if isinstance(value, dict):
            return {self.value(key): self.value(item, depth + 1) for key, item in value.items()}
        return [self.value(item, depth + 1) for item in value] if isinstance(value, list | tuple) else value


def masked_outcome(masking: Masking, outcome: Outcome) -> Outcome:
    """Return *outcome* without a secret in what is stored to be read; its artifact holds none by contract."""
    if not outcome.note and outcome.result is None and outcome.measurements is None:
        return outcome
    return replace(
        outcome,
        note=masking.text(outcome.note),
        result=masking.value(outcome.result),
        measurements=masking.value(outcome.measurements),
    )


def masked_error(masking: Masking, error: Exception) -> Exception:
    """Return *error*, or one without the secrets that it repeats; its causes, which may too, are cut off."""
    if isinstance(error, QuiesceError):
        message, hint = masking.text(str(error)), masking.text(error.hint)
        if (message, hint) == (str(error), error.hint):
            return error
        error.args, error.hint = (message,), hint
        error.__cause__ = error.__context__ = None
        return error
    message = f"{type(error).__name__}: {error}"
    masked = masking.text(message)
    if masked == message:
        return error
    return QuiesceError(masked, hint="This is a bug in a provider: please report it.")


def _forms(secret: str) -> Iterator[str]:
    """Give *secret* as it is, and as JSON, URLs, HTML, Python and base64 write it."""
    if len(secret) < LEAST_CHARS:
        return
    yield secret
    for ascii_only in (True, False):
        yield json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield json.dumps(json.dumps(secret, ensure_ascii=ascii_only)[1:-1], ensure_ascii=ascii_only)[1:-1]
    yield repr(secret)[1:-1]
    yield html.escape(secret)
    encoded = secret.encode("utf-8", "surrogateescape")
    for url in (quote(encoded), quote(encoded, safe=""), quote_plus(encoded)):
        yield from (url, re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), url))
    yield from _in_base64(encoded)


def _in_base64(secret: bytes) -> Iterator[str]:
    """Give the characters that *secret* alone decides, wherever it begins in what is encoded."""
    for before in range(3):
        first, length = -(-before * 8 // 6), (before + len(secret)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            form = encode(b"\0" * before + secret).decode()[first:length]
            if len(form) >= LEAST_CHARS:
                yield form


def _wrapped(form: str) -> re.Pattern[str]:
    return re.compile(f"(?:{_BREAK})?".join(map(re.escape, form)))


def _joined(text: str) -> str:
    return _WRITTEN_BREAKS.sub("", _BREAKS.sub("", text))


def _without_pieces(text: str, forms: list[str]) -> str:
    """Mask the part of a form that a line ends or begins with: devices wrap secrets over many lines."""
    prefix = _PREFIX.match(text)
    start = prefix.end() if prefix else 0
    head, body = text[:start], text[start:].rstrip("\r\n")
    rest = text[start + len(body) :]
    for form in forms:
        if len(body) >= _MIDDLE_CHARS and body in form:
            return head + MASK + rest
        body = _without_end(body, form)
        body = _without_beginning(body, form)
    return head + body + rest


def _without_end(body: str, form: str) -> str:
    for length in range(min(len(form) - 1, len(body)), _PIECE_CHARS - 1, -1):
        if body.endswith(form[:length]):
            return body[:-length] + MASK
    return body


def _without_beginning(body: str, form: str) -> str:
    for length in range(min(len(form) - 1, len(body)), _PIECE_CHARS - 1, -1):
        if body.startswith(form[-length:]):
            return MASK + body[length:]
    return body
