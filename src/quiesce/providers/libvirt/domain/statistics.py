"""Figures of domains: one bulk call of libvirt for all who ask at about the same time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.provider_kit.deadline import Deadline
from quiesce.provider_kit.listing import Pace, SharedRequest

#: how long rates are measured, in seconds
INTERVAL_S: Final = 0.5

Figures: TypeAlias = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What all running domains had counted at one moment, by UUID."""

    at: float
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredInterval:
    """Two readings, between which rates are measured."""

    before: Reading
    after: Reading

    def measurements(self, uuid: str) -> dict[str, Json]:
        """Return a domain's figures; only ``running`` when it was off."""
        now = self.after.figures.get(uuid)
        if now is None:
            return {"running": False}
        before = self.before.figures.get(uuid, now)
        elapsed_s = max(self.after.at - self.before.at, 1e-6)
        return _measured(before, now, elapsed_s)


class DomainStatistics:
    """Measures for many callers at once: whoever asks at about the same time shares two readings."""

    def __init__(self, read: Callable[[str], Figures]) -> None:
        """*read* returns the figures of everything behind a hypervisor's URI, in one call."""
        self._read = read
        self._shared = SharedRequest(self._measure, Pace(patient=False))

    def measure(self, uri: str, deadline: Deadline) -> MeasuredInterval:
        """Return two readings of everything at *uri*, both later than this call."""
        return self._shared.now(uri, deadline)

    def _measure(self, uris: frozenset[str]) -> Mapping[str, MeasuredInterval | ProviderError]:
        before = {uri: self._reading(uri) for uri in uris}
        time.sleep(INTERVAL_S)
        return {uri: self._interval(first, uri) for uri, first in before.items()}

    def _reading(self, uri: str) -> Reading | ProviderError:
        try:
            return Reading(at=time.monotonic(), figures=self._read(uri))
        except ProviderError as error:
            return error

    def _interval(self, first: Reading | ProviderError, uri: str) -> MeasuredInterval | ProviderError:
        if isinstance(first, ProviderError):
            return first
        second = self._reading(uri)
        return second if isinstance(second, ProviderError) else MeasuredInterval(before=first, after=second)


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
