"""The console in real Chromium: each screen and action, mouse and keyboard, wide, narrow, light, dark.

Screenshots go where ``QUIESCE_SCREENSHOTS`` says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
if BROWSER is None:
    pytest.skip("there is no chromium on this machine", allow_module_level=True)

BLUEPRINT = """
tosca_definitions_version: cloudify_dsl_1_4
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  files:
    type: quiesce.nodes.host.Directory
    properties: {{path: {data}}}
  till:
    type: quiesce.nodes.host.PausedProcess
    properties: {{pid_file: {pid_file}}}
    relationships: [{{type: cloudify.relationships.connected_to, target: files}}]
"""
SIZES = {"wide": 1400, "narrow": 400}


@dataclass
class Served:
    """A console that is served, and the tokens of its users."""

    url: str
    tokens: dict[str, str]
    data: Path
    #: the execution of the first backup, and its report
    backup: str
    report: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("console")
    data = root / "data"
    data.mkdir()
    (data / "file").write_text("saved")
    (data / "inner").mkdir()
    (data / "inner" / "deep").write_text("down here")
    till = subprocess.Popen(["sleep", "1000"])
    (root / "pid").write_text(str(till.pid))
    blueprint = root / "blueprint.yaml"
    blueprint.write_text(BLUEPRINT.format(data=data, pid_file=root / "pid"))
    environment = {**os.environ, "QUIESCE_HOME": str(root / "home")}

    def quiesce(*arguments: str) -> str:
        command = [sys.executable, "-m", "quiesce.cli.main", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    quiesce("init", str(blueprint), "-b", "shop")
    quiesce("init", str(blueprint), "-b", "staging")
    quiesce("policy", "set", "shop", "nightly", "schedule=0 2 * * *", "kind=backup", "keep_daily=7")
    quiesce("statistics", "shop", "--watch", "0.2", "--times", "3")
    quiesce("backup", "shop", "--full", "--snapshot-name", "first")
    (data / "more").write_text("more" * 10_000)
    quiesce("backup", "shop", "--full", "--snapshot-name", "second")
    quiesce("statistics", "shop", "--watch", "0.2", "--times", "2")
    listed = json.loads(quiesce("executions", "list", "shop", "--json"))["executions"]
    backup = next(each["id"] for each in listed if each["workflow"] == "backup")
    quiesce("report", backup, "-o", str(root / "report.html"))
    tokens = {role: quiesce("users", "add", role, "--role", role) for role in ("viewer", "operator", "admin")}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "quiesce.cli.main", "serve", "--port", str(port), "--no-run-due"]
    server = subprocess.Popen(command, env=environment)
    url = f"http://127.0.0.1:{port}"
    _until_answers(f"{url}/login")
    yield Served(url=url, tokens=tokens, data=data, backup=backup, report=root / "report.html")
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) in (0, -signal.SIGTERM)
    till.kill()
    till.wait()


def _until_answers(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the console did not begin to answer")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield launched
        launched.close()


class Visit:
    """A page that must stay without errors."""

    def __init__(self, browser: Any, served: Served, role: str, width: int, scheme: str) -> None:
        self.context = browser.new_context(
            base_url=served.url, color_scheme=scheme, viewport={"width": width, "height": 900}
        )
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("request", self._asked)
        self.served = served
        self.page.goto("/login")
        self.page.get_by_label("Your token").fill(served.tokens[role])
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"{served.url}/")

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(self.served.url):
            self.errors.append(f"asked for {request.url}")

    def shot(self, name: str) -> None:
        """Keep a picture."""
        keep_picture(self.page, name)

    def accessible(self) -> None:
        """Fail for what axe calls serious or critical."""
        assert serious_findings(self.page) == []


def keep_picture(page: Any, name: str) -> None:
    """Keep a picture of *page*; whatever is wider than the window is an error."""
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, f"{name} is {wide} px wider than the window"
    where = os.environ.get("QUIESCE_SCREENSHOTS")
    if where:
        Path(where).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{where}/{name}.png", full_page=True)


def serious_findings(page: Any) -> list[str]:
    """Return what axe calls serious or critical."""
    found = axe.Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['help']}" for each in found if each["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_is_readable(browser: Any, served: Served, size: str, scheme: str) -> None:
    visit = Visit(browser, served, "admin", SIZES[size], scheme)
    page = visit.page
    for name, path in {
        "home": "/",
        "deployment": "/deployments/shop",
        "point": "/deployments/shop/points/first",
        "plan": "/deployments/shop/plan/restore?snapshot_name=first",
        "policy": "/deployments/shop/policy?name=nightly",
        "policy-new": "/deployments/shop/policy",
        "policy-wrong": "/deployments/shop/policy/plan?name=nightly&schedule=often",
        "policy-plan": "/deployments/shop/policy/plan?name=nightly&keep_daily=3&jitter=10m",
        "policy-remove": "/deployments/shop/policy/plan?name=nightly&remove=yes",
        "audit": "/audit",
        "refused": "/deployments/none",
    }.items():
        page.goto(path)
        visit.shot(f"{name}-{size}-{scheme}")
        visit.accessible()
    page.goto("/deployments/shop/points/first")
    page.get_by_role("link", name=re.compile("^files_")).click()
    visit.shot(f"files-{size}-{scheme}")
    visit.accessible()
    page.goto(f"/executions/{served.backup}")
    page.get_by_text("made the window").wait_for()
    for heading in ("Frozen window", "Why this class: first", "The workload before, during and after"):
        assert page.get_by_role("heading", name=heading).is_visible()
    page.get_by_text("Operations", exact=True).click()
    visit.shot(f"execution-{size}-{scheme}")
    visit.accessible()
    visit.context.clear_cookies()
    page.goto("/login")
    page.get_by_label("Your token").wait_for()
    visit.shot(f"login-{size}-{scheme}")
    visit.accessible()
    assert [error for error in visit.errors if "404" not in error] == []
    visit.context.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_is_readable(browser: Any, served: Served, size: str, scheme: str) -> None:
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": SIZES[size], "height": 900}, bypass_csp=True
    )
    page = context.new_page()
    page.goto(f"file://{served.report}")
    for heading in ("Frozen window", "Why this class: first", "Beside the others", "The workload before"):
        assert page.get_by_role("heading", name=heading).is_visible()
    keep_picture(page, f"report-{size}-{scheme}")
    assert serious_findings(page) == []
    context.close()


def test_what_is_printed_is_dark_on_light(browser: Any, served: Served) -> None:
    context = browser.new_context(color_scheme="dark", viewport={"width": 780, "height": 900})
    page = context.new_page()
    page.goto(f"file://{served.report}")
    page.emulate_media(media="print")
    for element in ("body", ".facts b", "td"):
        color = page.locator(element).first.evaluate("each => getComputedStyle(each).color")
        assert sum(map(int, re.findall(r"\d+", color)[:3])) < 300, (element, color)
    keep_picture(page, "report-print")
    context.close()


def test_a_restore_point_is_proved_and_a_deployment_suspended(browser: Any, served: Served) -> None:
    visit = Visit(browser, served, "operator", 1400, "light")
    page = visit.page
    page.goto("/deployments/staging/plan/backup?kind=backup")
    page.get_by_role("button", name="Do it").click()
    page.wait_for_url("**/executions/*")
    page.get_by_text("completed", exact=True).first.wait_for(timeout=60_000)
    page.get_by_role("link", name=re.compile("^backup-")).click()
    page.get_by_role("button", name="Prove it").click()
    until = time.monotonic() + 60
    while not page.get_by_text("restored").count() and time.monotonic() < until:
        time.sleep(0.3)
        page.reload()
    assert page.get_by_text("restored").count()
    for workflow in ("Suspend", "Resume"):
        page.goto("/deployments/staging")
        page.get_by_role("link", name=f"{workflow} ...").click()
        page.get_by_role("button", name="Do it").click()
        page.wait_for_url("**/executions/*")
        page.get_by_text("completed", exact=True).first.wait_for(timeout=60_000)
    assert visit.errors == []
    visit.context.close()


def test_a_restore_is_undone(browser: Any, served: Served) -> None:
    visit = Visit(browser, served, "admin", 1400, "light")
    page = visit.page
    (served.data / "file").write_text("written since")
    for first in ("/deployments/shop/plan/restore?snapshot_name=first", "/deployments/shop"):
        page.goto(first)
        if first == "/deployments/shop":
            page.get_by_role("link", name="Undo restore ...").click()
        page.get_by_role("button", name="Do it").click()
        page.wait_for_url("**/executions/*")
        page.get_by_text("completed", exact=True).first.wait_for(timeout=60_000)
    assert (served.data / "file").read_text() == "written since"
    (served.data / "file").write_text("saved")
    assert visit.errors == []
    visit.context.close()


def test_a_backup_is_followed_live_and_restored(browser: Any, served: Served) -> None:
    visit = Visit(browser, served, "admin", 1400, "light")
    page = visit.page
    page.goto("/deployments/shop")
    page.get_by_role("link", name="Back up now").click()
    page.get_by_role("button", name="Do it").click()
    page.wait_for_url("**/executions/*")
    page.get_by_text("completed", exact=True).first.wait_for(timeout=60_000)
    (served.data / "file").write_text("lost")
    page.goto("/deployments/shop/points/first")
    page.get_by_role("button", name="Read it again").click()
    page.get_by_text("proven").first.wait_for()
    page.get_by_role("link", name=re.compile("^Restore")).click()
    page.get_by_role("button", name="Do it").click()
    page.wait_for_url("**/executions/*")
    page.get_by_text("completed", exact=True).first.wait_for(timeout=60_000)
    assert (served.data / "file").read_text() == "saved"
    assert visit.errors == []
    visit.context.close()


def test_one_file_is_taken_out_of_a_restore_point(browser: Any, served: Served) -> None:
    visit = Visit(browser, served, "admin", 1400, "light")
    page = visit.page
    page.goto("/deployments/shop/points/first")
    page.get_by_role("link", name=re.compile("^files_")).click()
    page.get_by_role("link", name="inner/").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download deep").click()
    assert download.value.suggested_filename == "deep"
    assert Path(download.value.path()).read_text() == "down here"
    page.goto("/audit")
    assert page.get_by_text(re.compile("extract files_.*/inner/deep")).is_visible()
    assert visit.errors == []
    visit.context.close()


def test_the_keyboard_alone_is_enough(browser: Any, served: Served) -> None:
    visit = Visit(browser, served, "operator", 1400, "light")
    page = visit.page

    def press_until(text: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.evaluate("document.activeElement.innerText || ''")
            if focused.strip() == text:
                page.keyboard.press("Enter")
                return
        raise AssertionError(f"the keyboard does not reach {text!r}")

    press_until("Skip to the content")
    press_until("shop")
    page.wait_for_url("**/deployments/shop")
    press_until("Back up now")
    page.wait_for_url("**/plan/backup**")
    press_until("Do it")
    page.wait_for_url("**/executions/*")
    page.get_by_text("completed", exact=True).first.wait_for(timeout=60_000)
    assert visit.errors == []
    visit.context.close()


@pytest.mark.parametrize("size", SIZES)
def test_a_policy_is_made_changed_and_removed_by_the_keyboard_alone(
    browser: Any, served: Served, size: str
) -> None:
    visit = Visit(browser, served, "admin", SIZES[size], "light")
    page = visit.page
    page.goto("/deployments/staging")

    def reach(words: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "(each => each.labels?.[0]?.innerText || each.innerText || '')(document.activeElement)"
            )
            if focused.strip() == words:
                return
        raise AssertionError(f"the keyboard does not reach {words!r}")

    def press(words: str) -> None:
        reach(words)
        with page.expect_navigation():
            page.keyboard.press("Enter")

    def write(label: str, text: str) -> None:
        reach(label)
        page.keyboard.press("Control+a")
        page.keyboard.type(text)

    press("New policy ...")
    write("name", "weekly")
    write("schedule", "often")
    press("See what it means")
    page.get_by_role("alert").wait_for()
    assert "often" in page.get_by_role("alert").inner_text()
    assert page.get_by_label("name", exact=True).input_value() == "weekly"
    write("schedule", "30 2 * * 0")
    reach("kind")
    page.keyboard.type("backup")
    write("keep_weekly", "8")
    press("See what it means")
    page.wait_for_url("**/policy/plan**")
    shown = "quiesce policy set staging weekly 'schedule=30 2 * * 0' kind=backup keep_weekly=8"
    page.get_by_text(shown).wait_for()
    press("Do it")
    page.wait_for_url("**/deployments/staging")
    page.get_by_role("heading", name="weekly").wait_for()

    press("Change weekly ...")
    page.get_by_label("keep_weekly").wait_for()
    write("keep_weekly", "4")
    press("See what it means")
    page.get_by_role("cell", name="keep_weekly").wait_for()
    press("Do it")
    page.wait_for_url("**/deployments/staging")

    press("Change weekly ...")
    press("Remove it ...")
    page.get_by_text("What it made stays").wait_for()
    press("Do it")
    page.wait_for_url("**/deployments/staging")
    assert page.get_by_role("heading", name="weekly").count() == 0
    page.goto("/audit")
    page.get_by_text("policy set staging weekly keep_weekly=4").first.wait_for()
    page.get_by_text("policy remove staging weekly").first.wait_for()
    assert visit.errors == []
    visit.context.close()


def test_a_viewer_sees_no_buttons(browser: Any, served: Served) -> None:
    visit = Visit(browser, served, "viewer", 1400, "light")
    for path in ("/deployments/shop", "/deployments/shop/points/first"):
        visit.page.goto(path)
        assert visit.page.locator("main button, main .button").count() == 0
    visit.context.close()


def test_another_sites_page_can_neither_act_nor_frame(browser: Any, served: Served, tmp_path: Path) -> None:
    visit = Visit(browser, served, "admin", 1400, "light")
    before = visit.page.request.get("/audit").text()
    page = visit.context.new_page()
    hostile = tmp_path / "hostile.html"
    hostile.write_text(
        f'<form method="post" action="{served.url}/deployments/shop/run/remove_backup">'
        '<input name="snapshot_name" value="first"><button>win</button></form>'
        f'<iframe src="{served.url}/deployments/shop"></iframe>'
    )
    page.goto(f"file://{hostile}")
    assert "shop" not in (page.frames[1].content() if len(page.frames) > 1 else "")
    page.get_by_role("button", name="win").click()
    page.wait_for_load_state()
    assert visit.page.request.get("/audit").text() == before
    visit.page.goto("/deployments/shop/points/first")
    assert visit.page.get_by_role("heading", name=re.compile("first")).is_visible()
    visit.context.close()


def test_what_is_printed_has_no_buttons(browser: Any, served: Served) -> None:
    visit = Visit(browser, served, "admin", 1400, "light")
    visit.page.goto("/deployments/shop")
    visit.page.emulate_media(media="print")
    assert not visit.page.get_by_role("link", name="Back up now").is_visible()
    visit.context.close()
