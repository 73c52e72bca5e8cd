"""When a policy is due; judged by walking through a year hour by hour, which knows nothing of cron."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from quiesce.app.policies.schedule import check_schedule, due_times, jitter_s, last_due, next_due
from quiesce.errors import UsageError
from quiesce.model.ids import DeploymentName
from quiesce.model.policy import Policy, PolicyName, PolicyRules

BERLIN = ZoneInfo("Europe/Berlin")
YEAR = dt.datetime(2027, 1, 1, tzinfo=BERLIN).timestamp(), dt.datetime(2028, 1, 1, tzinfo=BERLIN).timestamp()


def a_policy(schedule: str, *, jitter: float = 0.0, timezone: str = "Europe/Berlin") -> Policy:
    return Policy(
        deployment=DeploymentName("shop"),
        name=PolicyName("nightly"),
        given={},
        rules=PolicyRules(schedule=schedule, jitter=jitter, timezone=timezone),
        since=0.0,
    )


def shown(at: float) -> str:
    return dt.datetime.fromtimestamp(at, BERLIN).strftime("%m-%d %H:%M")


@pytest.mark.parametrize("hour", [1, 2, 3])
def test_once_on_each_day_of_a_year_whatever_the_clocks_do(hour: int) -> None:
    due = list(due_times(a_policy(f"30 {hour} * * *"), *YEAR))
    days = [dt.datetime.fromtimestamp(at, BERLIN).date() for at in due]
    assert days == [dt.date(2027, 1, 1) + dt.timedelta(days=n) for n in range(365)]
    odd = [shown(at) for at in due if not shown(at).endswith(f"{hour:02}:30")]
    assert odd == (["03-28 03:00"] if hour == 2 else [])


def test_each_hour_is_an_hour_apart_whatever_the_clocks_do() -> None:
    due = list(due_times(a_policy("@hourly"), *YEAR))
    assert {later - earlier for earlier, later in pairwise(due)} == {3600.0}


def test_a_leap_day_comes_up_when_there_is_one() -> None:
    assert shown(next_due(a_policy("0 4 29 2 *"), YEAR[0])) == "02-29 04:00"
    with pytest.raises(UsageError, match="30 2"):
        check_schedule(a_policy("0 4 30 2 *").rules)


@pytest.mark.parametrize("schedule", ["30 2 * * *", "*/7 * * * *", "0 0 1 * *", "15 2,3 * * 0", "@weekly"])
@pytest.mark.parametrize("jitter", [0.0, 3000.0])
def test_the_last_one_before_is_what_comes_next_after_it(schedule: str, jitter: float) -> None:
    policy = a_policy(schedule, jitter=jitter)
    at = YEAR[0]
    while at < YEAR[1]:
        before, after = last_due(policy, at), next_due(policy, at)
        assert before <= at < after
        assert next_due(policy, before) == after
        assert last_due(policy, before) == before
        at += 86_400 * 6.9


def test_jitter_is_the_same_each_time_and_within_its_bound() -> None:
    spread = {jitter_s(a_policy("30 2 * * *", jitter=600.0)) for _ in range(5)}
    assert len(spread) == 1
    assert 0 <= spread.pop() < 600


@pytest.mark.parametrize("schedule", ["", "daily", "61 2 * * *", "* * * *", "0 30 2 * * *", "a b c d e"])
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(UsageError, match="schedule"):
        check_schedule(a_policy(schedule).rules)


def test_a_time_zone_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="Mars/Base"):
        check_schedule(a_policy("@daily", timezone="Mars/Base").rules)
