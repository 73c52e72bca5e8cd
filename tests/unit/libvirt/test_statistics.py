"""Figures of domains, without a hypervisor."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from quiesce.errors import RecoverableError
from quiesce.provider_kit.deadline import Deadline
from quiesce.providers.libvirt.domain.statistics import DomainStatistics
from quiesce.testing import RecordingContext


def deadline() -> Deadline:
    return Deadline(RecordingContext())


def test_many_who_measure_at_once_share_two_readings() -> None:
    readings: list[str] = []

    def read(uri: str) -> dict[str, dict[str, int]]:
        readings.append(uri)
        return {"u": {"state.state": 1, "cpu.time": len(readings) * 10**9, "block.0.wr.bytes": 1000}}

    statistics, found = DomainStatistics(read), list[Any]()
    threads = [
        threading.Thread(target=lambda: found.append(statistics.measure("uri", deadline()).measurements("u")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(readings) <= 4
    assert found[0]["cpu_percent"] > 0
    assert found[0]["disk_write_bytes_per_s"] == 0


def test_a_domain_that_is_off_has_no_figures() -> None:
    statistics = DomainStatistics(lambda _: {})
    assert statistics.measure("uri", deadline()).measurements("u") == {"running": False}


def test_a_hypervisor_that_fails_fails_those_who_asked_for_it() -> None:
    def read(_: str) -> dict[str, dict[str, int]]:
        raise RecoverableError("gone")

    with pytest.raises(RecoverableError, match="gone"):
        DomainStatistics(read).measure("uri", deadline())
