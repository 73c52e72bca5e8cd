"""Figures of domains: one bulk call of libvirt for all who ask at about the same time."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from quiesce.model.ids import Json

#: how long rates are measured, in seconds
INTERVAL_S: Final = 0.5

Figures = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What all running domains had counted at one moment, by UUID."""

    at: float
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two samples, between which rates are measured."""

    before: Sample
    after: Sample

    def measurements(self, uuid: str) -> dict[str, Json]:
        """Return a domain's figures; only ``running`` when it was off."""
        now = self.after.figures.get(uuid)
        if now is None:
            return {"running": False}
        before = self.before.figures.get(uuid, now)
        elapsed_s = max(self.after.at - self.before.at, 1e-6)
        return _measured(before, now, elapsed_s)


class Sampler:
    """Measures for many callers at once.

    Whoever asks while a measurement runs shares its result; it ends after they asked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Future[Pair]] = {}

    def measure(self, key: str, read: Callable[[], Figures]) -> Pair:
        """Return the figures of everything behind *key*, which *read* reads in one call."""
        with self._lock:
            running = self._running.get(key)
            mine: Future[Pair] | None = None
            if running is None:
                running = mine = self._running[key] = Future()
        if mine is not None:
            self._lead(key, read, mine)
        return running.result()

    def _lead(self, key: str, read: Callable[[], Figures], result: Future[Pair]) -> None:
        try:
            before = Sample(at=time.monotonic(), figures=read())
            time.sleep(INTERVAL_S)
            pair = Pair(before=before, after=Sample(at=time.monotonic(), figures=read()))
        except BaseException as error:
            with self._lock:
                del self._running[key]
            result.set_exception(error)
            raise
        with self._lock:
            del self._running[key]
        result.set_result(pair)


def _measured(before: Mapping[str, Any], now: Mapping[str, Any], elapsed_s: float) -> dict[str, Json]:
    processors = int(now.get("vcpu.current", 1)) or 1
    used_s = (now.get("cpu.time", 0) - before.get("cpu.time", 0)) / 1e9
    found: dict[str, Json] = {
        "running": now.get("state.state") == 1,
        "cpu_percent": round(100 * used_s / elapsed_s / processors, 1),
        "cpus": processors,
        "cpu_time_s": round(now.get("cpu.time", 0) / 1e9, 3),
    }
    found.update(_memory(now))
    for name, pattern in _RATES.items():
        grown = _total(now, pattern) - _total(before, pattern)
        found[name] = round(max(grown, 0) / elapsed_s, 1)
    for name, pattern in _SUMS.items():
        found[name] = _total(now, pattern)
    return found


def _memory(now: Mapping[str, Any]) -> dict[str, Json]:
    found: dict[str, Json] = {"memory_bytes": int(now.get("balloon.current", 0)) * 1024}
    if "balloon.unused" in now and "balloon.available" in now:
        found["memory_used_bytes"] = (now["balloon.available"] - now["balloon.unused"]) * 1024
    if "balloon.rss" in now:
        found["host_memory_bytes"] = now["balloon.rss"] * 1024
    return found


def _total(figures: Mapping[str, Any], pattern: re.Pattern[str]) -> int:
    return sum(int(value) for name, value in figures.items() if pattern.fullmatch(name))


_RATES: Final = {
    "disk_read_bytes_per_s": re.compile(r"block\.\d+\.rd\.bytes"),
    "disk_write_bytes_per_s": re.compile(r"block\.\d+\.wr\.bytes"),
    "disk_reads_per_s": re.compile(r"block\.\d+\.rd\.reqs"),
    "disk_writes_per_s": re.compile(r"block\.\d+\.wr\.reqs"),
    "network_received_bytes_per_s": re.compile(r"net\.\d+\.rx\.bytes"),
    "network_sent_bytes_per_s": re.compile(r"net\.\d+\.tx\.bytes"),
}
_SUMS: Final = {
    "disk_capacity_bytes": re.compile(r"block\.\d+\.capacity"),
    "disk_allocated_bytes": re.compile(r"block\.\d+\.allocation"),
}
