"""Makes inputs that are nearly right: seeds with bytes, numbers, words and whole parts changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

#: what parsers trip over, in whatever format
_WORDS: Final = (
    b"0", b"-1", b"1e999", b"NaN", b"Infinity", b"9" * 400, b"18446744073709551615", b"\xd9\xa1", b"null",
    b"true", b'""', b"[]", b"{}", b"[" * 2000, b'{"a":' * 2000, b"../", b"..", b"/etc/shadow", b"\x00",
    b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\xe2\x80\xae", b"\x1b]52;c;AAAA\x07", b"\r\n", b"&amp;",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"]]>", b"!!python/object:os.system", b"&a [*a, *a]", b"*a",
    b"A" * 70000, b"%", b"{{", b"{%", b"\x1f\x8b",
)  # fmt: skip
_NUMBERS: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_MOST_BYTES: Final = 1 << 20


def mutated(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """Return one of the seeds, changed one to eight times."""
    data = bytearray(chance.choice(seeds))
    for _ in range(1 << chance.randrange(4)):
        chance.choice(_CHANGES)(data, seeds, chance)
    return bytes(data[:_MOST_BYTES])


def _flip(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _replace(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _insert(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    place = chance.randrange(len(data) + 1)
    data[place:place] = chance.choice(_WORDS)


def _overwrite(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    place, word = chance.randrange(len(data) + 1), chance.choice(_WORDS)
    data[place : place + len(word)] = word


def _number(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    size = chance.choice((1, 2, 4, 8))
    place = chance.randrange(max(1, len(data) - size + 1))
    if chance.random() < 0.7:
        place -= place % size
    value = chance.choice(_NUMBERS) % (1 << size * 8)
    data[place : place + size] = value.to_bytes(size, chance.choice(("little", "big")))


def _cut(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    start, end = _part(data, chance)
    del data[start:end]


def _shorten(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _repeat(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    start, end = _part(data, chance)
    data[start:start] = data[start:end] * chance.choice((1, 2, 50))


def _splice(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    other = chance.choice(seeds)
    start, end = _part(other, chance)
    place = chance.randrange(len(data) + 1)
    data[place:place] = other[start:end]


def _value(data: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    """Put another value in the place of one, between two separators."""
    separators = [place for place, byte in enumerate(data) if byte in b":,[]{}\n =\"'<>"]
    if len(separators) > 1:
        place = chance.randrange(len(separators) - 1)
        data[separators[place] + 1 : separators[place + 1]] = chance.choice(_WORDS)


def _part(data: bytes | bytearray, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.choice((1, 4, 16, 100, 512, 4096)))


_CHANGES: Final[tuple[Callable[[bytearray, Sequence[bytes], random.Random], None], ...]] = (
    _flip, _replace, _insert, _overwrite, _number, _cut, _shorten, _repeat, _splice, _value, _value,
)  # fmt: skip
