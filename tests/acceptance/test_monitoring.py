"""The dashboard and the alert rules ask for metrics and labels that there are; no metric is left out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from quiesce.reports.prometheus import METRICS, alert_rules, grafana_dashboard

from .shop import CommandLine, Shop

DASHBOARD = json.loads(grafana_dashboard())
RULES = [rule for group in yaml.safe_load(alert_rules())["groups"] for rule in group["rules"]]
QUERIES = [
    *(
        (target["expr"], target["legendFormat"])
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ),
    *((rule["expr"], " ".join(rule["annotations"].values())) for rule in RULES),
]
_METRIC = re.compile(r"(quiesce_\w+)(?:\{([^}]*)\})?")
_TOLD = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")


@pytest.fixture
def labels(quiesce: CommandLine, shop: Shop) -> Mapping[str, set[str]]:
    """The labels of each metric, as a monitoring system gets them."""
    quiesce("policy", "set", "shop", "nightly", "schedule=0 2 * * *", "kind=backup")
    quiesce("backup", "shop", "--full")
    found: dict[str, set[str]] = {}
    for line in quiesce("metrics").out.splitlines():
        if not line.startswith("#"):
            name, _, inner = line.partition("{")
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', inner))
    return found


def test_every_query_asks_for_what_there_is(labels: Mapping[str, set[str]]) -> None:
    for query, told in QUERIES:
        asked = _METRIC.findall(query)
        assert asked, query
        for metric, inner in asked:
            assert metric in labels, query
            assert set(re.findall(r"(\w+)\s*=~?", inner)) <= labels[metric], query
        common = set.intersection(*(labels[metric] for metric, _ in asked))
        assert set(re.findall(r"by \((\w+)\)", query)) <= common
        assert set(_TOLD.findall(told)) <= common, (query, told)


def test_every_metric_is_shown(labels: Mapping[str, set[str]]) -> None:
    assert labels.keys() == {f"quiesce_{name}" for name in METRICS}
    assert {metric for query, _ in QUERIES for metric, _ in _METRIC.findall(query)} == labels.keys()


def test_a_file_of_figures_that_nobody_writes_any_more_is_told_of(quiesce: CommandLine, shop: Shop) -> None:
    """Its collector reads it for ever, so no figure is ever absent."""
    quiesce("policy", "set", "shop", "nightly", "schedule=0 2 * * *", "kind=backup")
    figures = quiesce("metrics").out
    now = time.time()
    assert [_overdue_at(moment, figures) for moment in (now, now + 2 * 86400)] == [False, True]


def _overdue_at(moment: float, figures: str) -> bool:
    """Evaluate the rules that compare the time with a figure."""
    rules = [re.fullmatch(r"time\(\) - (quiesce_\w+) > (\d+)", rule["expr"]) for rule in RULES]
    return any(
        moment - float(line.rsplit(" ", 1)[1]) > int(rule[2])
        for rule in rules
        if rule
        for line in figures.splitlines()
        if line.startswith(f"{rule[1]}{{")
    )


def test_panels_have_numbers_of_their_own_and_do_not_lie_on_one_another() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_the_command_prints_them(quiesce: CommandLine) -> None:
    assert json.loads(quiesce("metrics", "--dashboard").out) == DASHBOARD
    assert yaml.safe_load(quiesce("metrics", "--alerts").out)["groups"][0]["rules"] == RULES
    assert "one of --dashboard and --alerts" in quiesce("metrics", "--alerts", "--dashboard", status=2).err
    assert not quiesce.home.exists()


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed"
)
def test_prometheus_takes_every_query(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(alert_rules())
    asked = [{"record": f"q:{n}", "expr": query} for n, query in enumerate(_plain_queries())]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": asked}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "alerts.yaml", tmp_path / "panels.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _plain_queries() -> Iterator[str]:
    """Yield the dashboard's queries as Grafana asks them."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$deployment", ".*")
