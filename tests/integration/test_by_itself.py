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
from tests.one_directory import BLUEPRINT
from tests.repository_objects import packs, spoil

from quiesce.app.deployments import add_deployment
from quiesce.app.policies.policies import changed, keep_policies
from quiesce.app.policies.running import run_due, tell_on_trial
from quiesce.app.repositories.copies import fetch_points
from quiesce.app.repository_access import GivenCredentials
from quiesce.app.run.execution import Watching
from quiesce.app.run.run import Result, run_workflow
from quiesce.app.services import Services
from quiesce.blueprint import instantiate, load_blueprint
from quiesce.bootstrap import Application, Settings
from quiesce.errors import RecoverableError, UsageError
from quiesce.model.ids import ExecutionId, Json
from quiesce.model.policy import DueReport, RunState
from quiesce.model.request import WorkflowRequest
from quiesce.repository.points import point_name

DAYS = int(os.environ.get("QUIESCE_YEAR_DAYS", "25"))
BERLIN = ZoneInfo("Europe/Berlin")
START = dt.datetime(2027, 3, 10, 12, tzinfo=BERLIN).timestamp()
DAY = 86_400.0


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


def proofs_expected(hours: Sequence[float], first_backup: float) -> list[float]:
    """Return when a policy that proves every ten days does so, looked at hourly."""
    found: list[float] = []
    for at in hours:
        if at >= first_backup and (not found or at - found[-1] >= 10 * DAY):
            found.append(at)
    return found


@pytest.mark.timeout(max(300, DAYS * 10))
def test_a_long_time_by_itself(nights: Nights) -> None:
    """Every due run happened once, retention is what its words say, and in quiet weeks nobody is told."""
    nights.policy(
        schedule="30 2 * * *", timezone="Europe/Berlin", kind="backup", keep_last=2, keep_daily=5,
        keep_weekly=3, keep_monthly=2, verify_every="7d", prove_every="10d", notify=["operators"],
        dead_man="pulse",
    )  # fmt: skip
    made: list[float] = []
    tried: list[float] = []
    hours = [START + hour * 3600.0 + 60 for hour in range(DAYS * 24)]
    for nights.clock.at in hours:
        for done in nights.run_due().runs:
            (made if done.run.policy == "nightly" else tried).append(nights.clock.at)
        assert nights.run_due().runs == ()
    first = dt.datetime.fromtimestamp(START, BERLIN).date()
    days = [dt.datetime.fromtimestamp(at, BERLIN).date() for at in nights.runs()]
    assert days == [first + dt.timedelta(days=n) for n in range(1, DAYS + 1)]
    assert set(nights.runs().values()) == {RunState.COMPLETED}
    left = {point.made_at for point in nights.services.catalog.list()}
    assert left == expected(made, last=2, daily=5, weekly=3, monthly=2)
    assert tried == proofs_expected(hours, made[0])
    assert nights.messenger.told == []
    assert set(nights.messenger.pinged) == {"https://pulse.example/1"}
    checks = sum(len(point.proofs) for point in nights.services.catalog.list())
    assert checks >= 1
    print(
        f"{DAYS} days, looked at {2 * len(hours)} times: {len(made)} backups, {len(left)} kept, "
        f"{len(tried)} proofs, {checks} checks of what is kept, {len(nights.messenger.told)} messages"
    )


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


def test_it_is_tried_whether_somebody_is_told(nights: Nights) -> None:
    nights.policy(schedule="@hourly", timezone="UTC", notify=["operators", "nobody"], dead_man="pulse")
    (policy,) = nights.services.policies.list()
    (why,) = tell_on_trial(nights.services, policy)
    assert "nobody was told by nobody: there is no secret" in why
    ((url, text),) = nights.messenger.told
    assert url == "json://operators"
    assert "on trial" in text
    assert nights.messenger.pinged == []


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


# -- proofs and copies --------------------------------------------------------------------------------------


def proofs(nights: Nights) -> list[tuple[str, float]]:
    return [
        (point.name, proof.at)
        for point in nights.services.catalog.list()
        for proof in point.proofs
        if proof.kind == "restored" and proof.passed
    ]


def test_the_newest_point_is_restored_on_trial_every_so_often(nights: Nights) -> None:
    nights.policy(
        schedule="0 2 * * *", timezone="UTC", kind="backup", prove_every="3d", notify=["operators"],
        prove_check='test "$(cat */file)" = content && test -n "$QUIESCE_POINT"',
    )  # fmt: skip
    for day in range(1, 9):
        nights.clock.at = START + day * DAY
        nights.run_due()
        nights.run_due()
    days = [round((at - START) / DAY) for _, at in proofs(nights)]
    assert days == [1, 4, 7]
    assert [name for name, _ in proofs(nights)] == [nights.points()[n] for n in (0, 3, 6)]
    assert nights.messenger.told == []
    assert list(Path(nights.services.proofs_dir).iterdir()) == []


def test_a_proof_that_was_missed_is_made_up_for_without_waiting_for_a_backup(nights: Nights) -> None:
    nights.policy(schedule="0 2 1 * *", timezone="UTC", kind="backup", prove_every="3d")
    nights.clock.at = START + 30 * DAY
    nights.run_due()
    assert len(proofs(nights)) == 1
    nights.clock.at += 10 * DAY  # the machine was off
    (run,) = nights.run_due().runs
    assert run.run.policy == "nightly/proof"
    assert len(proofs(nights)) == 2
    assert nights.run_due().runs == ()


def test_a_proof_that_fails_is_told_once_and_tried_again_after_some_hours(nights: Nights) -> None:
    nights.policy(
        schedule="0 2 * * *", timezone="UTC", kind="backup", prove_every="7d", prove_check="false",
        notify=["operators"], dead_man="pulse",
    )  # fmt: skip
    tries = 0
    for minutes in range(0, 12 * 60, 10):
        nights.clock.at = START + DAY + minutes * 60.0
        tries += sum(run.run.policy == "nightly/proof" for run in nights.run_due().runs)
    assert tries == 2
    ((_, text),) = nights.messenger.told
    assert "the proof of" in text
    assert "did not pass" in text
    assert nights.messenger.pinged == []
    nights.policy(prove_check="true")
    nights.clock.at += DAY
    assert nights.run_due().errors == ()
    assert len(nights.messenger.pinged) == 1


def test_a_proof_in_which_the_process_died_is_begun_again_and_leaves_nothing(nights: Nights) -> None:
    nights.policy(schedule="0 2 * * *", timezone="UTC", kind="backup", prove_every="7d")
    nights.clock.at = START + DAY

    def dies(request: WorkflowRequest) -> Result:
        result = run_workflow(nights.services, request, Watching())
        if request.workflow == "extract":
            raise KeyboardInterrupt
        return result

    with pytest.raises(KeyboardInterrupt):
        run_due(nights.services, dies)
    assert proofs(nights) == []
    (run,) = nights.run_due().runs
    assert (run.run.policy, run.run.state) == ("nightly/proof", RunState.COMPLETED)
    assert list(Path(nights.services.proofs_dir).iterdir()) == []


def test_a_damaged_backup_does_not_pass_and_is_called_damaged(nights: Nights) -> None:
    nights.policy(schedule="0 2 * * *", timezone="UTC", kind="backup", notify=["operators"])
    nights.clock.at = START + DAY
    nights.run_due()
    spoil(packs(Path(nights.services.proofs_dir).parent / "repository"))
    nights.policy(prove_every="7d")
    nights.clock.at += 3600
    report = nights.run_due()
    assert [each.code for each in report.errors] == ["damaged"]
    (point,) = nights.services.catalog.list()
    assert point.trust.value == "damaged"
    assert "proof" in nights.messenger.told[0][1]


def test_backups_are_copied_to_a_second_place_and_come_back_from_there(
    nights: Nights, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    access = nights.services.repositories()
    with access.created(str(second), GivenCredentials(), grace_s=60.0):
        pass
    nights.policy(
        schedule="0 2 * * *", timezone="UTC", kind="backup", copy_to=[str(second)], keep_last=2,
        notify=["operators"],
    )  # fmt: skip
    for day in range(1, 5):
        nights.clock.at = START + day * DAY
        nights.run_due()
        assert nights.run_due().runs == ()
    assert nights.messenger.told == []
    with access.opened(str(second), GivenCredentials()) as repository:
        whole = sorted(point.key for point in repository.points() if not point.key.instance)
        assert [key.point for key in whole] == nights.points()
        with access.home.opened_or_made(str(tmp_path / "back")) as back:
            assert all(fetch_points(repository, back, whole).values())
            assert not any(fetch_points(repository, back, whole).values())
            fetched = list(back.points())
            assert back.verify(point.key for point in fetched).damages == {}
    first = Path(nights.services.proofs_dir).parent / "repository"
    with access.opened(str(first), GivenCredentials()) as repository:
        assert sorted(map(str, fetched)) == sorted(map(str, repository.points()))


def test_a_point_that_is_damaged_or_unfinished_at_the_second_place_is_copied_again(
    nights: Nights, tmp_path: Path
) -> None:
    """The next night, beside that night's own; whoever was cut off had put an instance's point already."""
    second = tmp_path / "second"
    access = nights.services.repositories()
    with access.created(str(second), GivenCredentials(), grace_s=60.0):
        pass
    nights.policy(schedule="0 2 * * *", timezone="UTC", kind="backup", copy_to=[str(second)])
    for day in (1, 2):
        nights.clock.at = START + day * DAY
        assert nights.run_due().errors == ()
    with access.opened(str(second), GivenCredentials()) as repository:
        names = {
            point.key: second / point_name(repository._opened.keys, point.key)
            for point in repository.points()
            if not point.key.instance
        }
    damaged, unfinished = sorted(names)
    names[damaged].chmod(0o600)
    names[damaged].write_bytes(b"damaged")
    names[unfinished].unlink()
    nights.clock.at = START + 3 * DAY
    assert nights.run_due().errors == ()
    with access.opened(str(second), GivenCredentials()) as repository:
        keys = [point.key for point in repository.points()]
        assert {key.point for key in keys if not key.instance} == set(nights.points())
        assert repository.verify(keys).damages == {}


def test_a_second_place_that_is_away_is_told_and_caught_up_with(nights: Nights, tmp_path: Path) -> None:
    second = tmp_path / "second"
    access = nights.services.repositories()
    with access.created(str(second), GivenCredentials(), grace_s=60.0):
        pass
    nights.policy(
        schedule="0 2 * * *", timezone="UTC", kind="backup", copy_to=[str(second)], notify=["operators"],
        dead_man="pulse",
    )  # fmt: skip
    second.rename(tmp_path / "away")
    second.mkdir()
    tries = 0
    for minutes in range(0, 26 * 60, 15):
        nights.clock.at = START + DAY + minutes * 60.0
        tries += sum(run.run.policy == "nightly/copy" for run in nights.run_due().runs)
    assert 24 <= tries <= 27
    assert len(nights.messenger.told) == 2
    assert "the copy of" in nights.messenger.told[0][1]
    assert nights.messenger.pinged == []
    second.rmdir()
    (tmp_path / "away").rename(second)
    nights.clock.at += DAY
    assert nights.run_due().errors == ()
    assert len(nights.messenger.pinged) == 1
    with access.opened(str(second), GivenCredentials()) as repository:
        assert {point.key.point for point in repository.points()} == set(nights.points())


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"prove_check": "true"}, "does not say prove_every"),
        ({"copy_to": ["/somewhere"], "kind": "snapshot"}, "makes snapshots"),
        ({"copy_to": ["ftp://x/y"], "kind": "backup"}, "ftp"),
    ],
)
def test_what_a_policy_cannot_do_is_refused_when_it_is_set(
    nights: Nights, keys: dict[str, Json], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        nights.policy(schedule="@daily", **keys)
