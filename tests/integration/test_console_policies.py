"""Policies in the console: its form keeps what ``quiesce policy set`` keeps, and shows it first."""

from __future__ import annotations

import html
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.one_directory import BLUEPRINT

from quiesce.bootstrap import Application, Settings
from quiesce.model.options import options_of
from quiesce.model.policy import Policy, PolicyRules
from quiesce.service.access import Access
from quiesce.service.app import console
from quiesce.service.audit import Audit
from quiesce.service.launching import Launcher
from quiesce.service.policy_form import COMMANDS
from quiesce.service.users import UserRole, Users


def quiesce(arguments: list[str]) -> int:
    """Run a command in a process of its own: two databases in one would disturb each other's locks."""
    command = [sys.executable, "-m", "quiesce.cli.main", *arguments]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode


@dataclass
class Console:
    """A console with two deployments, and somebody logged in as an admin."""

    application: Application
    audit: Audit
    browser: TestClient
    data: Path

    def policies(self, deployment: str = "shop") -> dict[str, Policy]:
        """Return what is kept, by name."""
        found = self.application.services.policies.list()
        return {each.name: each for each in found if each.deployment == deployment}

    def form(self, name: str = "") -> str:
        """Return the page with the form."""
        answer = self.browser.get("/deployments/shop/policy", params={"name": name})
        assert answer.status_code == 200
        return answer.text

    def plan(self, **keys: str) -> str:
        """Fill the form in and send it; return the page that tells what it means."""
        values = fields(self.form(keys.get("name", "")))
        answer = self.browser.get("/deployments/shop/policy/plan", params={**values, **keys})
        assert answer.status_code == 200
        return answer.text

    def post(self, what: str, page: str, **instead: str) -> int:
        """Press the button of a plan's page; return the status."""
        data = {**fields(page.rpartition("<form")[2]), **instead}
        return self.browser.post(f"/deployments/shop/policy/{what}", data=data).status_code

    def keep(self, **keys: str) -> None:
        """Fill the form in, look at what it means, and keep it."""
        assert self.post("set", self.plan(**keys)) == 303


def fields(page: str) -> dict[str, str]:
    """Return what a browser would send of the last form of *page*."""
    form = page.rpartition("<form")[2]
    found: dict[str, str] = {}
    for tag in re.findall(r"<(?:input|select)[^>]*>", form):
        name = re.search(r'name="([^"]*)"', tag)
        value = re.search(r'value="([^"]*)"', tag)
        if name is not None:
            found[name[1]] = html.unescape(value[1]) if value else ""
    for select, name, options in re.findall(r'(<select[^>]*name="([^"]+)"[^>]*>)(.*?)</select>', form, re.S):
        chosen = re.search(r"<option selected>([^<]*)<", options)
        assert select
        found[name] = chosen[1] if chosen else ""
    return found


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("content")
    blueprint = tmp_path / "blueprint.yaml"
    blueprint.write_text(BLUEPRINT.format(path=data))
    home = tmp_path / "home"
    monkeypatch.setenv("QUIESCE_HOME", str(home))
    for name in ("shop", "twin"):
        assert quiesce(["init", str(blueprint), "-b", name]) == 0
    application = Application(Settings.of(os.environ))
    users, audit = Users(home / "console-users.json"), Audit(home / "console-audit.jsonl")
    app = console(
        application.services, Access(users, frozenset({"localhost"})), Launcher(home, os.environ), audit
    )
    browser = TestClient(app, base_url="http://localhost", follow_redirects=False)
    browser.post("/login", data={"token": users.add("alice", UserRole.ADMIN)})
    yield Console(application=application, audit=audit, browser=browser, data=data)
    application.close()


EVERYTHING = {
    "schedule": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "jitter": "10m",
    "kind": "backup",
    "keep_last": "2",
    "keep_daily": "7",
    "keep_weekly": "4",
    "keep_monthly": "12",
    "keep_within": "36h",
    "max_frozen": "2.5",
    "at_least": "crash",
    "verify_every": "7d",
    "prove_every": "4w",
    "copy_to": "file:///mnt/second",
    "catch_up": "false",
    "overdue_after": "2h",
    "notify": "operators,night",
    "dead_man": "pulse",
    "parameters": '{"exclude_nodes": ["cache"]}',
}


def test_the_form_has_every_key(shop: Console) -> None:
    names = {each.name for each in options_of(PolicyRules)}
    assert names == EVERYTHING.keys() | COMMANDS
    page = shop.form()
    assert fields(page).keys() == {"version", "name"} | EVERYTHING.keys()
    for each in options_of(PolicyRules):
        assert html.escape(each.help, quote=True).replace("&#x27;", "&#39;") in page


def test_it_keeps_the_same_as_the_command_line(shop: Console) -> None:
    shop.keep(name="nightly", **EVERYTHING)
    keys = [f"{key}={text}" for key, text in EVERYTHING.items()]
    assert quiesce(["policy", "set", "twin", "nightly", *keys]) == 0
    here, there = shop.policies()["nightly"], shop.policies("twin")["nightly"]
    assert (here.given, here.rules) == (there.given, there.rules)


def test_the_command_that_is_shown_does_the_same(shop: Console) -> None:
    page = shop.plan(name="nightly", **EVERYTHING)
    shown = re.search(r"<code>(quiesce policy set .*?)</code>", page)
    assert shown is not None
    assert shop.policies() == {}
    assert quiesce(shlex.split(html.unescape(shown[1]))[1:]) == 0
    before = shop.policies()["nightly"]
    assert shop.post("set", page) == 409  # it is there now
    assert shop.post("set", shop.plan(name="nightly", keep_daily="8")) == 303
    after = shop.policies()["nightly"]
    assert after.given == {**before.given, "keep_daily": 8}


def test_a_key_that_is_emptied_is_taken_away(shop: Console) -> None:
    shop.keep(name="nightly", schedule="@daily", keep_daily="7", kind="backup")
    shop.keep(name="nightly", keep_daily="", kind="", keep_last="3")
    assert shop.policies()["nightly"].given == {"schedule": "@daily", "keep_last": 3}


def test_what_is_filled_in_comes_back(shop: Console) -> None:
    shop.keep(name="nightly", **EVERYTHING)
    back = fields(shop.form("nightly"))
    assert {key: back[key] for key in EVERYTHING} == EVERYTHING | {
        "parameters": '{"exclude_nodes": ["cache"]}'
    }
    assert "Nothing would change" in shop.plan(name="nightly")


def test_what_it_means_is_shown_before(shop: Console) -> None:
    shop.keep(name="nightly", schedule="@daily")
    for number in range(3):
        point = ["-p", f"snapshot_name=n{number}", "-p", "snapshot_type=nightly"]
        assert quiesce(["backup", "shop", *point]) == 0
    page = shop.plan(name="nightly", keep_last="1", schedule="30 2 * * *", timezone="UTC")
    assert page.count("02:30:00") >= 5
    assert "Of the 3 restore points that it has made, it would remove 2" in page
    assert "<li>n0," in page
    assert "files_" in page
    assert shop.policies()["nightly"].given == {"schedule": "@daily"}
    assert "stays for ever" in shop.plan(name="nightly")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"schedule": ""}, "has no schedule"),
        ({"schedule": "often"}, "often"),
        ({"timezone": "Mars/Base"}, "Mars/Base"),
        ({"keep_daily": "many"}, "keep_daily of policy nightly"),
        ({"keep_daily": "0"}, "keep_daily of policy nightly"),
        ({"copy_to": "file:///mnt/second"}, "makes snapshots"),
        ({"parameters": '{"snapshot_name": "x"}'}, "cannot hold snapshot_name"),
        ({"parameters": "x"}, "parameters of policy nightly"),
        ({"name": "../up"}, "policy name"),
        ({"name": ""}, "policy name"),
    ],
)
def test_what_is_wrong_is_said_in_the_form_with_what_was_written(
    shop: Console, keys: Mapping[str, str], why: str
) -> None:
    page = shop.plan(**{"name": "nightly", "schedule": "@daily", **keys})
    alert = re.search(r'role="alert">(.*?)</p>', page, re.S)
    assert alert is not None
    assert why in html.unescape(alert[1])
    sent = fields(page)
    assert all(sent[key] == text for key, text in keys.items())
    assert shop.policies() == {}


def test_what_cannot_be_kept_is_not_kept_either(shop: Console) -> None:
    good = shop.plan(name="nightly", schedule="@daily")
    assert shop.post("set", good, schedule="often") == 400
    assert shop.policies() == {}
    assert not shop.audit.last()


def test_a_run_that_would_be_refused_is_said_before(shop: Console) -> None:
    page = shop.plan(name="nightly", schedule="@daily", at_least="application")
    assert "It would be refused" in page
    shop.keep(name="nightly", schedule="@daily", at_least="application")


def test_a_command_of_this_machine_is_nothing_for_a_browser(shop: Console) -> None:
    """Whoever may use the console may restore; running commands as root is another matter."""
    page = shop.plan(name="nightly", schedule="@daily", prove_every="1d", prove_check="touch /tmp/x")
    assert "touch" not in page
    assert shop.post("set", page, prove_check="touch /tmp/x") == 303
    assert shop.policies()["nightly"].given == {"schedule": "@daily", "prove_every": "1d"}
    assert quiesce(["policy", "set", "shop", "nightly", "prove_check=true-looks"]) == 0
    assert "true-looks" in shop.form("nightly")
    shop.keep(name="nightly", keep_last="2")
    given = shop.policies()["nightly"].given
    assert given == {"schedule": "@daily", "prove_every": "1d", "prove_check": "true-looks", "keep_last": 2}


def test_what_somebody_else_has_changed_meanwhile_is_not_overwritten(shop: Console) -> None:
    shop.keep(name="nightly", schedule="@daily", keep_last="5")
    page = shop.plan(name="nightly", keep_last="6")
    assert quiesce(["policy", "set", "shop", "nightly", "keep_last=7"]) == 0
    assert shop.post("set", page) == 409
    removal = shop.plan(name="nightly", remove="yes", version="")
    assert quiesce(["policy", "set", "shop", "nightly", "keep_last=8"]) == 0
    assert shop.post("remove", removal) == 409
    assert shop.policies()["nightly"].given["keep_last"] == 8


def test_it_is_removed_and_what_it_made_stays(shop: Console) -> None:
    shop.keep(name="nightly", schedule="@daily")
    assert quiesce(["backup", "shop", "-p", "snapshot_name=n", "-p", "snapshot_type=nightly"]) == 0
    page = shop.plan(name="nightly", remove="yes", version="")
    assert "What it made stays" in page
    assert shop.post("remove", page) == 303
    assert shop.policies() == {}
    assert [point.name for point in shop.application.services.catalog.list()] == ["n"]
    missing = shop.browser.get("/deployments/shop/policy/plan", params={"name": "nightly", "remove": "yes"})
    assert missing.status_code == 404


def test_who_did_it_is_written_down(shop: Console) -> None:
    shop.keep(name="nightly", schedule="@daily", keep_last="5")
    shop.keep(name="nightly", keep_last="")
    assert shop.post("remove", shop.plan(name="nightly", remove="yes", version="")) == 303
    assert [(deed.user, deed.deployment, deed.what) for deed in reversed(shop.audit.last())] == [
        ("alice", "shop", "policy set shop nightly schedule=@daily keep_last=5"),
        ("alice", "shop", "policy set shop nightly keep_last=null"),
        ("alice", "shop", "policy remove shop nightly"),
    ]


@pytest.mark.parametrize("key", ["schedule", "notify", "timezone"])
def test_what_is_written_is_text_and_nothing_else(shop: Console, key: str) -> None:
    page = shop.plan(**{"name": "nightly", "schedule": "@daily", key: '"><script>alert(1)</script>'})
    assert "<script>alert" not in page


def test_it_works_by_itself_at_its_time(shop: Console) -> None:
    """What the form has kept is run by the scheduler like any other."""
    shop.keep(name="nightly", schedule="* * * * *", kind="backup", keep_last="1")
    services = shop.application.services
    (policy,) = services.policies.list()
    services.policies.save([replace(policy, since=policy.since - 120)])
    assert quiesce(["run-due"]) == 0
    (point,) = services.catalog.list()
    assert (point.type, point.full) == ("nightly", True)
