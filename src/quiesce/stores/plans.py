"""Plans to bytes and back, a piece at a time: one of a large deployment has a million steps."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from quiesce.model.plan import Plan, Step, shared_of
from quiesce.stores.codec import decode, encode, encode_plain

#: so many steps are one line
_STEPS: Final = 1000
#: the fields of a step that no other has in common with it; see `shared_of`
_OWN: Final = {"id": "", "instance": "", "after": (), "of": None}


def pack_plan(plan: Plan) -> bytes:
    """Return *plan* as compressed lines of JSON.

    The first is the plan without its steps. What many steps have in common is a line of its own before the
    first of them; every other line is a list of steps, each of which names the number of that line.
    """
    squeeze = zlib.compressobj(level=1)
    parts = [squeeze.compress(line.encode() + b"\n") for line in _lines(plan)]
    return b"".join((*parts, squeeze.flush()))


def unpack_plan(data: bytes) -> Plan:
    """Return the plan that `pack_plan` wrote.

    Raises:
        ValueError: when *data* is not all of it; other errors when it is not what was written.
    """
    lines = _unsqueezed(data)
    plan = decode(Plan, next(lines))
    return replace(plan, steps=tuple(_steps(lines)))


def _lines(plan: Plan) -> Iterator[str]:
    yield encode(replace(plan, steps=()))
    known: dict[tuple[object, ...], int] = {}
    steps = iter(plan.steps)
    while some := tuple(islice(steps, _STEPS)):
        rows = []
        for step in some:
            shared = shared_of(step)
            number = known.get(shared)
            if number is None:
                number = known[shared] = len(known)
                yield encode(replace(step, **_OWN))  # type: ignore[arg-type]
            rows.append((step.id, step.instance, number, step.after, step.of))
        yield encode_plain(rows)


def _steps(lines: Iterable[str]) -> Iterator[Step]:
    known: list[Mapping[str, Any]] = []
    names: dict[str, Any] = {}  # a name that is read twice is kept once
    for line in lines:
        if line.startswith("{"):
            step = decode(Step, line)
            known.append({name: getattr(step, name) for name in step.__slots__ if name not in _OWN})
            continue
        for name, instance, number, after, of in json.loads(line):
            yield Step(
                id=names.setdefault(name, name),
                instance=names.setdefault(instance, instance),
                after=tuple(names.setdefault(each, each) for each in after),
                of=of and names.setdefault(of, of),
                **known[number],
            )


def _unsqueezed(data: bytes) -> Iterator[str]:
    expand, rest = zlib.decompressobj(), b""
    view = memoryview(data)
    for start in range(0, len(data), 65536):
        *lines, rest = (rest + expand.decompress(view[start : start + 65536])).split(b"\n")
        yield from (line.decode() for line in lines)
    # only at its end zlib has compared its checksum
    if not expand.eof or rest or expand.unused_data:
        raise ValueError("its end is missing, or something follows it")
