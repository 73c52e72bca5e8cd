"""Figures as a series in time, and a backup's page that says how the workload did around it."""

from __future__ import annotations

import re
from pathlib import Path

from .shop import CommandLine, Shop


def test_figures_are_measured_again_and_again(quiesce: CommandLine, shop: Shop) -> None:
    told = quiesce("statistics", "shop", "--watch", "0.2", "--times", "3")
    lines = [line for line in told.out.splitlines() if "size_bytes" in line]
    assert len(lines) >= 3
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \w+: ", line) for line in lines)
    told = quiesce("statistics", "shop", "--watch", "0.2", "--times", "2", "--json")
    first, second = (line["measured"] for line in told.lines)
    assert first["at"] < second["at"]
    assert first["figures"].keys() == second["figures"].keys()
    assert [each["workflow"] for each in quiesce.executions()] == ["statistics"] * 5


def test_a_count_without_a_series_is_refused(quiesce: CommandLine, shop: Shop) -> None:
    assert "--times is for --watch" in quiesce("statistics", "shop", "--times", "2", status=2).err
    assert "No such option" in quiesce("backup", "shop", "--watch", "1", status=2).err


def test_ctrl_c_ends_a_series_in_good_order(quiesce: CommandLine, shop: Shop) -> None:
    running = quiesce.start("statistics", "shop", "--watch", "600")
    assert running.stdout is not None
    assert running.stdout.readline()
    running.terminate()
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")


def test_a_backups_page_tells_of_the_workload_around_it(
    quiesce: CommandLine, shop: Shop, tmp_path: Path
) -> None:
    quiesce("statistics", "shop", "--watch", "0.1", "--times", "2")
    quiesce("backup", "shop", "--full", "--snapshot-name", "one")
    (shop.data / "more").write_bytes(b"x" * 100_000)
    quiesce("statistics", "shop")
    quiesce("backup", "shop", "--full", "--snapshot-name", "two")
    execution = next(each["id"] for each in quiesce.executions() if each["workflow"] == "backup")
    assert "made the window" in quiesce("executions", "show", execution).out
    quiesce("report", execution, "-o", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    for heading in ("Frozen window", "Why this class: one", "Beside the others", "The workload before"):
        assert heading in page
    grown = re.search(r">size_bytes<.*?before\">([^<]+)<.*?after\">([^<]+)<", page, re.DOTALL)
    assert grown is not None
    assert grown[1] != grown[2]
