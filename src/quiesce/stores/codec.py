"""Values to JSON and back. Stored values stay readable: unknown fields are ignored, new ones default."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Sequence
from typing import Any, TypeVar

import cattrs
from cattrs.gen import make_dict_unstructure_fn

from quiesce.model.outcome import Outcome
from quiesce.model.records import (
    Aborted,
    Begun,
    Done,
    Ended,
    Failed,
    Logged,
    Progressed,
    Record,
    Started,
)

T = TypeVar("T")

#: by the name that is stored
RECORD_KINDS: dict[str, type[Any]] = {
    "started": Started,
    "begun": Begun,
    "done": Done,
    "failed": Failed,
    "logged": Logged,
    "progressed": Progressed,
    "aborted": Aborted,
    "ended": Ended,
}
_KIND_OF = {kind: name for name, kind in RECORD_KINDS.items()}


def _is_json(kind: Any) -> bool:
    """Tell whether *kind* is `Json`, or made of it: its values are stored as they are."""
    return not isinstance(kind, type) and "'Json'" in str(kind)


def _text(value: str, kind: Any) -> str:
    """Return a string that equal ones share: a large plan repeats the same few words a million times."""
    if isinstance(kind, type) and kind is not str:
        word: str = kind(value)  # an enumeration whose members are strings
        return word
    return sys.intern(value)


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(omit_if_default=True, detailed_validation=False)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook_func(_is_json, lambda value, _: value)
    converter.register_unstructure_hook_func(_is_json, lambda value: value)
    for kind in (*RECORD_KINDS.values(), Outcome):
        unstructure: Any = make_dict_unstructure_fn(kind, converter, _cattrs_omit_if_default=True)
        converter.register_unstructure_hook(kind, unstructure)
    return converter


_CONVERTER = _converter()
_UNSTRUCTURE = {kind: _CONVERTER.get_unstructure_hook(kind) for kind in _KIND_OF}
#: for what is plain data already
encode_plain = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(value: object) -> str:
    """Return *value* (a model value) as JSON."""
    return encode_plain(_CONVERTER.unstructure(value))


def decode(kind: type[T], text: str) -> T:
    """Return the value of type *kind* that `encode` wrote."""
    return _CONVERTER.structure(json.loads(text), kind)


def pack(value: object) -> bytes:
    """Return *value* as compressed JSON, for large values."""
    return zlib.compress(encode(value).encode(), level=1)


def unpack(kind: type[T], data: bytes) -> T:
    """Return the value of type *kind* that `pack` wrote."""
    return decode(kind, zlib.decompress(data).decode())


def encode_records(records: Sequence[Record]) -> str:
    """Return *records*, which are stored together, as JSON: pairs of a kind and a body."""
    return encode_plain([(_KIND_OF[type(each)], _UNSTRUCTURE[type(each)](each)) for each in records])


def decode_records(text: str) -> list[Record]:
    """Return the records that `encode_records` wrote, in this or any earlier version."""
    return [_CONVERTER.structure(body, RECORD_KINDS[kind]) for kind, body in json.loads(text)]
