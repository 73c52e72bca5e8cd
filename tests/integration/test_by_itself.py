"""Nights by policy, with a clock of the test's own: real runs, real retention, real restore points.

``QUIESCE_YEAR_DAYS=365`` lives through a whole year.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from quiesce.app.deployments import add_deployment
from quiesce.app.policies.policies import changed, keep_policies
from quiesce.app.policies.running import run_due
from quiesce.app.run.execution import Watching
from quiesce.app.run.run import Result, run_workflow
from quiesce.app.services import Services
from quiesce.blueprint import instantiate, load_blueprint
from quiesce.bootstrap import Application, Settings
from quiesce.errors import RecoverableError
from quiesce.model.ids import ExecutionId, Json
from quiesce.model.policy import DueReport, RunState
from quiesce.model.request import WorkflowRequest

DAYS = int(os.environ.get("QUIESCE_YEAR_DAYS", "25"))
BERLIN = ZoneInfo("Europe/Berlin")
START = dt.datetime(2027, 3, 10, 12, tzinfo=BERLIN).timestamp()
DAY = 86_400.0

BLUEPRINT = """
tosca_definitions_version: cloudify_dsl_1_4
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  files:
    type: quiesce.nodes.host.Directory
    properties: {{path: {path}}}
"""


class Clock:
    """A clock that the test sets; what passes is measured by the real one."""

    def __init__(self, real: object) -> None:
        self.at = START
        self.tick = real.tick  # type: ignore[attr-defined]

    def now(self) -> float:
        return self.at


@dataclass
class Messenger:
    """Keeps what it was to tell; *broken* ones accept nothing."""

    told: list[tuple[str, str]] = field(default_factory=list)
    pinged: list[str] = field(default_factory=list)
    broken: bool = False

    def tell(self, url: str, title: str, lines: Sequence[str]) -> None:
        if self.broken:
            raise RecoverableError("nobody is there")
        self.told.append((url, "\n".join((title, *lines))))

    def ping(self, url: str) -> None:
        self.pinged.append(url)


class Nights:
    """A deployment of one small directory, and what happens to it by itself."""

    def __init__(self, services: Services, data: Path) -> None:
        self.clock = Clock(services.clock)
        self.messenger = Messenger()
        self.services = replace(services, clock=self.clock, messenger=self.messenger)
        self.data = data

    def policy(self, **keys: Json) -> None:
        keep_policies(self.services, [changed(self.services, "shop", "nightly", keys)])

    def run_due(self) -> DueReport:
        return run_due(self.services, self._run)

    def _run(self, request: WorkflowRequest) -> Result:
        return run_workflow(self.services, request, Watching())

    def runs(self) -> dict[float, RunState]:
        (policy,) = self.services.policies.list()
        return {run.due_at: run.state for run in reversed(self.services.policies.runs(policy, 1000))}

    def points(self) -> list[str]:
        return [point.name for point in self.services.catalog.list()]


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Nights]:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("content")
    blueprint = tmp_path / "blueprint.yaml"
    blueprint.write_text(BLUEPRINT.format(path=data))
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    secrets = home / "secrets.yaml"
    secrets.write_text("operators: json://operators\npulse: https://pulse.example/1\n")
    secrets.chmod(0o600)
    application = Application(Settings.of({"QUIESCE_HOME": str(home)}))
    _add(application.services, blueprint)
    yield Nights(application.services, data)
    application.close()


def _add(services: Services, blueprint: Path) -> None:
    topology = instantiate(load_blueprint(blueprint), random.Random(1).choice)
    add_deployment(services, "shop", topology, blueprint=str(blueprint), blueprint_dir=str(blueprint.parent))


def expected(made: Sequence[float], *, last: int, daily: int, weekly: int, monthly: int) -> set[float]:
    """Return what retention keeps of restore points made at these times: written from its words alone."""
    newest_first = sorted(made, reverse=True)
    kept = set(newest_first[:last])
    for count, period in ((daily, "%Y-%j"), (weekly, "%G-%V"), (monthly, "%Y-%m")):
        newest_of: dict[str, float] = {}
        for at in newest_first:
            newest_of.setdefault(dt.datetime.fromtimestamp(at, dt.UTC).astimezone().strftime(period), at)
        kept |= set(list(newest_of.values())[:count])
    return kept


@pytest.mark.timeout(max(300, DAYS * 10))
def test_a_long_time_by_itself(nights: Nights) -> None:
    """Every due run happened once, retention is what its words say, and in quiet weeks nobody is told."""
    nights.policy(
        schedule="30 2 * * *", timezone="Europe/Berlin", kind="backup", keep_last=2, keep_daily=5,
        keep_weekly=3, keep_monthly=2, verify_every="7d", notify=["operators"], dead_man="pulse",
    )  # fmt: skip
    made: list[float] = []
    for hour in range(DAYS * 24):
        nights.clock.at = START + hour * 3600.0 + 60
        if nights.run_due().runs:
            made.append(nights.clock.at)
        nights.run_due()
    first = dt.datetime.fromtimestamp(START, BERLIN).date()
    days = [dt.datetime.fromtimestamp(at, BERLIN).date() for at in nights.runs()]
    assert days == [first + dt.timedelta(days=n) for n in range(1, DAYS + 1)]
    assert set(nights.runs().values()) == {RunState.COMPLETED}
    left = {point.made_at for point in nights.services.catalog.list()}
    assert left == expected(made, last=2, daily=5, weekly=3, monthly=2)
    assert nights.messenger.told == []
    assert set(nights.messenger.pinged) == {"https://pulse.example/1"}
    checks = sum(len(point.proofs) for point in nights.services.catalog.list())
    assert checks >= 1


def test_what_was_missed_is_made_up_for_once(nights: Nights) -> None:
    nights.policy(schedule="0 2 * * *", timezone="Europe/Berlin")
    nights.clock.at = START + 5 * DAY
    (run,) = nights.run_due().runs
    assert (run.run.state, run.run.missed_before) == (RunState.COMPLETED, 4)
    assert nights.run_due().runs == ()
    assert len(nights.points()) == 1


def test_what_was_missed_can_stay_missed(nights: Nights) -> None:
    nights.policy(schedule="0 2 * * *", timezone="Europe/Berlin", catch_up=False)
    nights.clock.at = START + 5 * DAY
    (run,) = nights.run_due().runs
    assert run.run.state is RunState.MISSED
    assert nights.points() == []


def test_a_clock_that_was_ahead_for_a_while_stops_nothing(nights: Nights) -> None:
    nights.policy(schedule="0 2 * * *", timezone="Europe/Berlin")
    nights.clock.at = START + 400 * DAY
    assert len(nights.run_due().runs) == 1
    for day in range(1, 4):
        nights.clock.at = START + day * DAY
        assert [run.run.state for run in nights.run_due().runs] == [RunState.COMPLETED]
        assert nights.run_due().runs == ()


def test_a_broken_night_is_told_once_and_overdue_in_time(nights: Nights) -> None:
    nights.policy(
        schedule="@hourly", timezone="UTC", notify=["operators"], dead_man="pulse", overdue_after="2h",
        parameters={"task_retries": 0},
    )  # fmt: skip
    nights.clock.at = START + 3660
    nights.run_due()
    assert nights.messenger.told == []
    pulses = len(nights.messenger.pinged)
    away = nights.data.with_name("away")
    nights.data.rename(away)
    for hour in range(2, 22):
        nights.clock.at = START + 3600 * hour + 60
        report = nights.run_due()
        assert report.errors
    ((url, text),) = nights.messenger.told
    assert url == "json://operators"
    assert "nightly of shop" in text
    assert len(nights.messenger.pinged) == pulses
    nights.clock.at += DAY
    nights.run_due()
    assert len(nights.messenger.told) == 2
    assert "no good restore point since" in nights.messenger.told[1][1]
    away.rename(nights.data)
    nights.clock.at += 3600
    assert nights.run_due().errors == ()
    assert len(nights.messenger.told) == 2
    assert len(nights.messenger.pinged) == pulses + 1


def test_a_message_that_nobody_took_is_sent_again(nights: Nights) -> None:
    nights.policy(schedule="@hourly", timezone="UTC", notify=["operators"], parameters={"task_retries": 0})
    shutil.rmtree(nights.data)
    nights.clock.at = START + 3660
    nights.messenger.broken = True
    assert "nobody was told by operators" in nights.run_due().untold[0]
    nights.messenger.broken = False
    nights.clock.at += 300
    assert nights.run_due().untold == ()
    assert len(nights.messenger.told) == 1


def test_two_schedulers_never_run_one_twice(nights: Nights) -> None:
    nights.policy(schedule="@hourly", timezone="UTC")
    nights.clock.at = START + 3660
    name = nights.services.deployments.list()[0].name
    lease = nights.services.schedulers.acquire(name, ExecutionId("another"))
    report = nights.run_due()
    assert (report.runs, report.busy) == ((), (name,))
    lease.release()
    assert len(nights.run_due().runs) == 1
    assert nights.run_due().runs == ()


def test_a_run_in_which_the_process_died_is_run_again(nights: Nights) -> None:
    nights.policy(schedule="@hourly", timezone="UTC")
    nights.clock.at = START + 3660

    def dies(request: WorkflowRequest) -> Result:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_due(nights.services, dies)
    (run,) = nights.run_due().runs
    assert run.run.state is RunState.COMPLETED
    assert len(nights.points()) == 1


def test_a_run_that_died_after_its_backup_does_not_make_another(nights: Nights) -> None:
    nights.policy(schedule="@hourly", timezone="UTC")
    nights.clock.at = START + 3660

    def dies(request: WorkflowRequest) -> Result:
        run_workflow(nights.services, request, Watching())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_due(nights.services, dies)
    (run,) = nights.run_due().runs
    assert run.run.state is RunState.COMPLETED
    assert len(nights.services.executions.list()) == 1


def test_a_class_lower_than_asked_is_a_failure(nights: Nights) -> None:
    nights.policy(schedule="@hourly", timezone="UTC", at_least="application", notify=["operators"])
    nights.clock.at = START + 3660
    (run,) = nights.run_due().runs
    assert run.run.state is RunState.FAILED
    assert "application" in nights.messenger.told[0][1]


def test_retention_touches_only_what_the_policy_made(nights: Nights) -> None:
    by_hand = WorkflowRequest(deployment="shop", workflow="backup", parameters={"snapshot_name": "by-hand"})
    run_workflow(nights.services, by_hand, Watching())
    nights.policy(schedule="@hourly", timezone="UTC", keep_last=1)
    for hour in range(1, 4):
        nights.clock.at = START + 3600 * hour + 60
        nights.run_due()
    assert len(nights.points()) == 2
    assert "by-hand" in nights.points()


def test_after_a_failed_run_nothing_is_removed(nights: Nights) -> None:
    """Old restore points may be all that is left."""
    nights.policy(schedule="@hourly", timezone="UTC", keep_last=5, parameters={"task_retries": 0})
    for hour in range(1, 4):
        nights.clock.at = START + 3600 * hour + 60
        nights.run_due()
    nights.policy(keep_last=1)
    kept = nights.points()
    away = nights.data.with_name("away")
    nights.data.rename(away)
    nights.clock.at += 3600
    assert nights.run_due().errors
    assert nights.points() == kept
    away.rename(nights.data)
    nights.clock.at += 3600
    assert nights.run_due().errors == ()
    assert len(nights.points()) == 1
