"""Of what a child prints, the first and the last part are kept, and what is missing is counted."""

from __future__ import annotations

from quiesce.isolation.output import FIRST_CHARS, LAST_CHARS, BoundedLog
from quiesce.model.records import Level


def test_the_journal_cannot_be_filled() -> None:
    """First and last lines are there, in order, and the bytes between them are counted."""
    kept: list[str] = []
    log = BoundedLog(lambda _, line: kept.append(line))
    lines = [f"{number:09d} é" for number in range(100_000)]
    for line in lines:
        log.add(Level.INFO, line)
    log.end()
    at = next(n for n, line in enumerate(kept) if "left out" in line)
    first, last = kept[:at], kept[at + 1 :]
    assert first == lines[: len(first)]
    assert last == lines[-len(last) :]
    missing = lines[len(first) : -len(last)]
    assert kept[at] == f"... {sum(len(line.encode()) for line in missing)} bytes of output left out ..."
    assert sum(map(len, kept)) < FIRST_CHARS + LAST_CHARS


def test_a_short_output_is_whole_and_at_once() -> None:
    """Nothing waits for the end."""
    kept: list[str] = []
    log = BoundedLog(lambda _, line: kept.append(line))
    for line in ("one", "two"):
        log.add(Level.INFO, line)
    assert kept == ["one", "two"]
    log.end()
    assert kept == ["one", "two"]
