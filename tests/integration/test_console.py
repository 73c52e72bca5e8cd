"""The console from outside: who may do what, what other pages can do, and that what it starts happens."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from tests.acceptance.shop import eventually
from tests.one_directory import BLUEPRINT

from quiesce.bootstrap import Application, Settings
from quiesce.cli.main import run as quiesce
from quiesce.model.execution import ExecutionState
from quiesce.model.report import ExecutionReport
from quiesce.service import app, connections, pages
from quiesce.service.access import Access, RequestRefusedError
from quiesce.service.actions import Actions
from quiesce.service.app import console, places
from quiesce.service.audit import Audit, Deed
from quiesce.service.files import token_of
from quiesce.service.launching import Launcher
from quiesce.service.pages import Pages, role_for
from quiesce.service.proxy import TrustedProxy
from quiesce.service.server import run_due_until
from quiesce.service.users import UserRole, Users


@dataclass
class Console:
    """The console of a deployment that was backed up once."""

    application: Application
    home: Path
    data: Path
    app: object

    def client(self, role: UserRole | None, **headers: str) -> TestClient:
        """Return a browser, logged in as somebody of *role*."""
        browser = TestClient(
            self.app,  # type: ignore[arg-type]
            base_url="http://localhost",
            headers=headers,
            follow_redirects=False,
        )
        if role is not None:
            token = Users(self.home / "console-users.json").add(role.label, role)
            answer = browser.post("/login", data={"token": token})
            assert answer.status_code == 303, answer.text
        return browser


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    root = tmp_path_factory.mktemp("console")
    data = root / "data"
    data.mkdir()
    (data / "file").write_text("content")
    blueprint = root / "blueprint.yaml"
    blueprint.write_text(BLUEPRINT.format(path=data))
    home = root / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUIESCE_HOME", str(home))
        assert quiesce(["init", str(blueprint), "-b", "shop"]) == 0
        assert quiesce(["backup", "shop", "-p", "snapshot_name=one"]) == 0
        application = Application(Settings.of(os.environ))
        launcher = Launcher(home, os.environ)
        app = console(
            application.services,
            Access(Users(home / "console-users.json"), frozenset({"localhost"})),
            launcher,
            Audit(home / "console-audit.jsonl"),
        )
        yield Console(application=application, home=home, data=data, app=app)
        launcher.wait()
        application.close()


def filled(path: str, shop: Console) -> str:
    execution = shop.application.services.executions.list()[0].id
    (part,) = shop.application.services.catalog.list()[0].artifacts
    names = {"deployment": "shop", "point": "one", "workflow": "restore", "execution": execution}
    names["instance"] = part.instance
    return path.format(**names)


def all_places(shop: Console) -> list[tuple[str, bool, UserRole]]:
    services = shop.application.services
    audit = Audit(shop.home / "unused")
    rows = places(Pages(services, audit), Actions(services, Launcher(shop.home, {}), audit))
    return [(row.path, row.changes, row.role or role_for("restore")) for row in rows]


def csrf_of(text: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', text)
    assert found is not None
    return found[1]


def test_every_route_asks_who_it_is(shop: Console) -> None:
    nobody = shop.client(None)
    for path, changes, _ in all_places(shop):
        answer = nobody.request(
            "POST" if changes else "GET", filled(path, shop), data={} if changes else None
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/login"), path


def test_every_route_refuses_a_lower_role(shop: Console) -> None:
    for path, changes, needed in all_places(shop):
        for role in UserRole:
            if role >= needed:
                continue
            browser = shop.client(role)
            data = {"csrf": csrf_of(browser.get("/").text)} if changes else None
            answer = browser.request("POST" if changes else "GET", filled(path, shop), data=data)
            assert answer.status_code == 403, (path, role)
            assert "needs the role" in answer.text


def test_whatever_changes_something_is_refused_without_the_pages_own_word(shop: Console) -> None:
    browser = shop.client(UserRole.ADMIN)
    for path, changes, _ in all_places(shop):
        if changes:
            for data in ({"snapshot_name": "one"}, {"csrf": "guessed"}):
                assert browser.post(filled(path, shop), data=data).status_code == 403
            assert browser.get(filled(path, shop)).status_code == 405
    assert browser.post("/logout", data={"csrf": ""}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_sites_page_cannot_act(shop: Console, headers: dict[str, str]) -> None:
    browser = shop.client(UserRole.ADMIN)
    data = {"csrf": csrf_of(browser.get("/").text), "snapshot_name": "one"}
    answer = browser.post("/deployments/shop/run/remove_backup", data=data, headers=headers)
    assert answer.status_code == 403
    assert "another site" in answer.text
    assert shop.application.services.catalog.list()[0].name == "one"


def test_a_name_that_is_not_its_own_is_refused(shop: Console) -> None:
    answer = shop.client(UserRole.VIEWER).get("/", headers={"host": "evil.example"})
    assert answer.status_code == 421
    assert "shop" not in answer.text


def test_no_page_can_be_framed_or_load_anything_from_elsewhere(shop: Console) -> None:
    browser = shop.client(UserRole.ADMIN)
    for path, changes, _ in all_places(shop):
        if changes or path.endswith("/live"):
            continue
        answer = browser.get(filled(path, shop), params={"snapshot_name": "one"})
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", answer.text)
        assert not re.search(r"\son[a-z]+=|style=", answer.text)
    cookie = shop.client(None).post("/login", data={"token": "wrong"})
    assert cookie.status_code == 401


def test_the_cookie_is_out_of_scripts_and_other_sites_reach(shop: Console) -> None:
    token = Users(shop.home / "console-users.json").add("carol", UserRole.VIEWER)
    answer = shop.client(None).post("/login", data={"token": token})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_who_is_removed_or_lowered_is_so_at_once(shop: Console) -> None:
    users = Users(shop.home / "console-users.json")
    token = users.add("dave", UserRole.ADMIN)
    browser = shop.client(None)
    browser.post("/login", data={"token": token})
    assert browser.get("/audit").status_code == 200
    browser.post("/login", data={"token": users.add("dave", UserRole.VIEWER)})
    assert browser.get("/audit").status_code == 403
    users.remove("dave")
    assert browser.get("/").headers["location"] == "/login"


def test_a_new_token_ends_what_the_former_one_has_begun(shop: Console) -> None:
    """Whoever had found the former one stayed logged in for twelve hours."""
    users = Users(shop.home / "console-users.json")
    thief = shop.client(None)
    thief.post("/login", data={"token": users.add("frank", UserRole.ADMIN)})
    assert thief.get("/audit").status_code == 200
    users.add("frank", UserRole.ADMIN)
    assert thief.get("/audit").headers["location"] == "/login"


class Following:
    """An execution that runs for ever, followed by somebody to whom *happens* something meanwhile."""

    def __init__(self, shop: Console, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
        self.path = filled("/executions/{execution}/live", shop)
        self._looks = 0
        self._happens = happens
        report = Pages._report

        def running(pages: Pages, execution: str) -> ExecutionReport:
            self._looks += 1
            if self._looks == 3:
                self._happens()
            assert self._looks < 20, "it goes on"
            found = report(pages, execution)
            return replace(found, execution=replace(found.execution, state=ExecutionState.RUNNING))

        monkeypatch.setattr(Pages, "_report", running)
        monkeypatch.setattr(pages, "_LIVE_S", 0.0)

    def happens_next(self, happens: Callable[[], object]) -> None:
        """Have something else happen to who follows it from now on."""
        self._looks, self._happens = 0, happens


@pytest.mark.parametrize("how", ["removed", "given a new token", "logged out", "lost"])
def test_who_is_removed_sees_no_more_of_what_is_followed(
    shop: Console, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    users = Users(shop.home / "console-users.json")
    browser = shop.client(None)
    browser.post("/login", data={"token": users.add("grace", UserRole.VIEWER)})
    csrf = csrf_of(browser.get("/").text)
    happens = {
        "removed": lambda: users.remove("grace"),
        "given a new token": lambda: users.add("grace", UserRole.VIEWER),
        "logged out": lambda: browser.post("/logout", data={"csrf": csrf}),
        "lost": lambda: (shop.home / "console-users.json").chmod(0o666),
    }[how]
    following = Following(shop, monkeypatch, happens)
    seen = browser.get(following.path).text
    (shop.home / "console-users.json").chmod(0o600)
    assert seen.startswith("data:")
    assert "over" not in seen


def test_executions_are_not_followed_by_any_number_at_once(
    shop: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_MOST_STREAMS", 1)
    answers: list[int] = []
    users = Users(shop.home / "console-users.json")
    browser, other = shop.client(UserRole.VIEWER), shop.client(UserRole.ADMIN)

    def follow_too() -> None:
        answers.append(other.get(following.path).status_code)
        users.remove("viewer")

    following = Following(shop, monkeypatch, follow_too)
    browser.get(following.path)
    assert answers == [503]


def test_one_user_does_not_take_all_that_may_be_followed(
    shop: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A viewer had all 32, and no operator could take out a file."""
    monkeypatch.setattr(app, "_MOST_OF_ONE", 1)
    answers: list[int] = []
    users = Users(shop.home / "console-users.json")
    browser, other = shop.client(UserRole.VIEWER), shop.client(UserRole.ADMIN)

    def follow_too() -> None:
        answers.append(browser.get(following.path).status_code)
        users.remove("viewer")
        following.happens_next(lambda: users.remove("admin"))
        answers.append(other.get(following.path).status_code)

    following = Following(shop, monkeypatch, follow_too)
    browser.get(following.path)
    assert answers == [503, 200]


PROXY = TrustedProxy(address="127.0.0.1", header="Remote-User", secret="a secret of the proxy's own")


@pytest.fixture
def behind_proxy(shop: Console) -> Iterator[Callable[..., TestClient]]:
    """The same console behind a reverse proxy that says who asks."""
    users = Users(shop.home / "console-users.json")
    users.add("heidi", UserRole.OPERATOR)
    app = console(
        shop.application.services,
        Access(users, frozenset({"localhost"}), proxy=PROXY),
        Launcher(shop.home, os.environ),
        Audit(shop.home / "console-audit.jsonl"),
    )

    def ask(*headers: tuple[str, str], address: str = "127.0.0.1") -> TestClient:
        return TestClient(
            app,
            base_url="http://localhost",
            headers=httpx2.Headers(headers),
            client=(address, 5),
            follow_redirects=False,
        )

    yield ask
    users.remove("heidi")


SHOWN = ("x-quiesce-proxy", PROXY.secret)


def test_whom_the_proxy_names_is_logged_in_with_the_role_that_is_kept_here(
    shop: Console, behind_proxy: Callable[..., TestClient]
) -> None:
    browser = behind_proxy(SHOWN, ("remote-user", "heidi"))
    page = browser.get("/").text
    assert "heidi (operator)" in page
    assert "log out" not in page
    assert browser.get("/audit").status_code == 403
    plan = "/deployments/shop/points/one/verify"
    assert browser.post(plan, data={"csrf": "guessed"}).status_code == 403
    evil = browser.post(plan, data={"csrf": csrf_of(page)}, headers={"origin": "https://evil.example"})
    assert evil.status_code == 403
    assert browser.post(plan, data={"csrf": csrf_of(page)}).status_code == 303


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        pytest.param([SHOWN, ("remote-user", "heidi")], "127.0.0.2", id="another address"),
        pytest.param([("remote-user", "heidi")], "127.0.0.1", id="no secret"),
        pytest.param([("x-quiesce-proxy", ""), ("remote-user", "heidi")], "127.0.0.1", id="empty secret"),
        pytest.param([("x-quiesce-proxy", "x" * 27), ("remote-user", "heidi")], "127.0.0.1", id="wrong"),
        pytest.param([SHOWN, SHOWN, ("remote-user", "heidi")], "127.0.0.1", id="two secrets"),
        pytest.param([SHOWN, ("remote-user", "viewer"), ("remote-user", "heidi")], "127.0.0.1", id="two"),
        pytest.param([SHOWN, ("remote-user", "")], "127.0.0.1", id="nobody"),
        pytest.param([SHOWN, ("remote-user", "mallory")], "127.0.0.1", id="no user"),
        pytest.param([SHOWN, ("x-user", "heidi")], "127.0.0.1", id="another header"),
        pytest.param(
            [SHOWN, ("remote-user", "heidi"), ("x-forwarded-for", "127.0.0.1")], "10.0.0.9", id="forwarded"
        ),
    ],
)
def test_nobody_but_the_proxy_says_who_asks(
    behind_proxy: Callable[..., TestClient], headers: list[tuple[str, str]], address: str
) -> None:
    answer = behind_proxy(*headers, address=address).get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_who_is_removed_is_refused_though_the_proxy_names_him(
    shop: Console, behind_proxy: Callable[..., TestClient]
) -> None:
    users = Users(shop.home / "console-users.json")
    users.add("ivan", UserRole.VIEWER)
    browser = behind_proxy(SHOWN, ("remote-user", "ivan"))
    first = csrf_of(browser.get("/").text)
    users.add("ivan", UserRole.VIEWER)
    assert csrf_of(browser.get("/").text) != first
    users.remove("ivan")
    assert browser.get("/").headers["location"] == "/login"


def test_the_cookie_is_for_tls_where_the_proxy_speaks_it(shop: Console) -> None:
    token = Users(shop.home / "console-users.json").add("judy", UserRole.VIEWER)
    browser = shop.client(None)
    answer = browser.post("/login", data={"token": token}, headers={"x-forwarded-proto": "https"})
    assert "secure" in answer.headers["set-cookie"].lower()


def test_a_console_that_is_served_believes_only_the_connection(shop: Console, tmp_path: Path) -> None:
    """Who says that it comes from the proxy's address does not: the real server, real connections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    Users(shop.home / "console-users.json").add("kim", UserRole.VIEWER)
    command = [sys.executable, "-m", "quiesce.cli.main", "serve", "--no-run-due", "--port", str(port)]
    environment = {**os.environ, "QUIESCE_HOME": str(shop.home), "QUIESCE_SECRET_CONSOLE_PROXY": PROXY.secret}
    server = subprocess.Popen([*command, "--proxy", "127.0.0.2"], env=environment)

    def seen(source: str) -> str:
        named = {"X-Quiesce-Proxy": PROXY.secret, "Remote-User": "kim", "X-Forwarded-For": "127.0.0.2"}
        asking = http.client.HTTPConnection("127.0.0.1", port, source_address=(source, 0), timeout=30)
        with contextlib.closing(asking) as connection:
            connection.request("GET", "/", headers=named)
            return connection.getresponse().read().decode()

    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                seen("127.0.0.1")
                break
            time.sleep(0.1)
        assert "kim (viewer)" in seen("127.0.0.2")
        assert "kim" not in seen("127.0.0.1")
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize(("secret", "proxy"), [("short", "127.0.0.1"), (PROXY.secret, "proxy.example")])
def test_a_proxy_that_cannot_be_known_is_refused(
    shop: Console, monkeypatch: pytest.MonkeyPatch, secret: str, proxy: str
) -> None:
    monkeypatch.setenv("QUIESCE_HOME", str(shop.home))
    monkeypatch.setenv("QUIESCE_SECRET_CONSOLE_PROXY", secret)
    Users(shop.home / "console-users.json").add("kim", UserRole.VIEWER)
    assert quiesce(["serve", "--proxy", proxy]) == 2


def test_tokens_are_nowhere_kept(shop: Console) -> None:
    token = Users(shop.home / "console-users.json").add("erin", UserRole.VIEWER)
    # by another process: reading SQLite's files here would drop the locks that this process has on them
    found = subprocess.run(["grep", "-rlF", token, shop.home], capture_output=True, check=False)
    assert (found.returncode, found.stdout) == (1, b"")
    assert (shop.home / "console-users.json").stat().st_mode & 0o077 == 0


def test_a_backup_begun_in_the_browser_is_made_and_written_down(shop: Console) -> None:
    browser = shop.client(UserRole.OPERATOR)
    page = browser.get("/deployments/shop/plan/backup?kind=backup").text
    answer = browser.post("/deployments/shop/run/backup", data={"csrf": csrf_of(page), "kind": "backup"})
    assert answer.status_code == 303, answer.text
    where = answer.headers["location"]
    execution = where.removeprefix("/executions/")
    services = shop.application.services
    deadline = time.monotonic() + 60
    while services.executions.get(execution).state is ExecutionState.RUNNING and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "completed" in browser.get(where).text
    live = browser.get(f"{where}/live").text
    assert "event: over" in live
    deeds = shop.client(UserRole.ADMIN).get("/audit").text
    assert "operator" in deeds
    assert "backup" in deeds


def test_what_a_full_disk_has_cut_off_hides_no_other_deed(tmp_path: Path) -> None:
    """Nobody saw any deed any more."""
    audit = Audit(tmp_path / "audit")
    audit.add(Deed(at=1.0, user="ada", what="backup"))
    with (tmp_path / "audit").open("a") as file:
        file.write('{"at": 2.0, "us\n{"at": 3.0}\n')
    audit.add(Deed(at=4.0, user="bob", what="restore"))
    assert [deed.user for deed in audit.last()] == ["bob", "ada"]


def test_what_cannot_be_planned_is_said_in_the_page(shop: Console) -> None:
    browser = shop.client(UserRole.ADMIN)
    answer = browser.get("/deployments/shop/plan/restore?snapshot_name=nothing")
    assert answer.status_code == 404
    assert "nothing" in answer.text
    assert browser.get("/deployments/none").status_code == 404
    assert browser.get("/deployments/shop/plan/conquer").status_code == 404


def test_a_restore_point_is_read_again(shop: Console) -> None:
    browser = shop.client(UserRole.OPERATOR)
    page = browser.get("/deployments/shop/points/one").text
    answer = browser.post("/deployments/shop/points/one/verify", data={"csrf": csrf_of(page)})
    assert answer.headers["location"] == "/deployments/shop/points/one"
    services = shop.application.services
    deployment = services.deployments.list()[0].name
    # a process of its own does it, and may take longer than the answer waits for it
    eventually(lambda: bool(services.catalog.get(deployment, "one").proofs), "it was read again")


def files_page(shop: Console) -> str:
    return filled("/deployments/{deployment}/points/{point}/files/{instance}", shop)


def test_one_file_is_found_and_taken_out_and_that_is_written_down(shop: Console) -> None:
    browser = shop.client(UserRole.ADMIN)
    page = browser.get(files_page(shop)).text
    assert "file" in page
    data = {"csrf": csrf_of(page), "at": token_of(b"file")}
    answer = browser.post(f"{files_page(shop)}/extract", data=data)
    assert (answer.status_code, answer.content) == (200, b"content")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''file"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert re.search(r"extract files_\w+/file", browser.get("/audit").text)
    assert list((shop.home / "proofs").iterdir()) == []


def test_who_may_only_look_takes_nothing_out(shop: Console) -> None:
    page = shop.client(UserRole.OPERATOR).get(files_page(shop)).text
    assert "Download" not in page
    assert shop.client(UserRole.VIEWER).get(files_page(shop)).status_code == 403


@pytest.mark.parametrize(
    ("token", "status"),
    [
        (token_of(b"nothing"), 404),
        (token_of(b"../../etc/passwd"), 404),
        (token_of(b"/etc/passwd"), 404),
        ("no token!", 400),
        ("\N{SNOWMAN}", 400),
    ],
)
def test_paths_that_are_not_in_it_lead_nowhere(shop: Console, token: str, status: int) -> None:
    browser = shop.client(UserRole.ADMIN)
    page = browser.get(files_page(shop)).text
    answer = browser.post(f"{files_page(shop)}/extract", data={"csrf": csrf_of(page), "at": token})
    assert answer.status_code == status
    assert "root:" not in answer.text
    assert browser.get(files_page(shop), params={"at": token}).status_code == status


def test_names_and_messages_are_text_and_nothing_else(shop: Console) -> None:
    browser = shop.client(UserRole.VIEWER)
    answer = browser.get("/", params={"q": "<script>alert(1)</script>\x1b]0;x\x07\u202e"})
    assert "<script>alert" not in answer.text
    assert "\x1b" not in answer.text
    assert "\u202e" not in answer.text


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "application/json"}, b"{}", 415),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x--", 415),
        ({"content-type": "application/x-www-form-urlencoded"}, b"a=" + b"b" * 70_000, 413),
        ({"content-type": "application/x-www-form-urlencoded"}, b"\xff\xfe=\xff", 400),
    ],
)
def test_what_is_no_form_of_ours_is_refused(
    shop: Console, headers: dict[str, str], content: bytes, status: int
) -> None:
    browser = shop.client(UserRole.ADMIN)
    answer = browser.post("/deployments/shop/run/backup", headers=headers, content=content)
    assert answer.status_code == status


@pytest.mark.parametrize("name", ["host", "origin"])
def test_addresses_that_are_none_are_refused_and_are_no_bug(shop: Console, name: str) -> None:
    answer = shop.client(None).post("/login", headers={name: "http://[::1"}, data={"token": "x"})
    assert answer.status_code in {403, 421}


def test_a_stranger_is_asked_to_log_in_though_the_users_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "users.json").write_text("damaged")
    access = Access(Users(tmp_path / "users.json"), frozenset({"localhost"}))
    assert access.session(Request({"type": "http", "method": "GET", "headers": []})) is None


def test_wrong_tokens_keep_no_thread_waiting(shop: Console) -> None:
    """Else some dozens of connections are enough that nobody sees a page."""
    access = Access(Users(shop.home / "console-users.json"), frozenset({"localhost"}))
    scope = {"type": "http", "method": "POST", "headers": [(b"host", b"localhost")]}
    with (
        mock.patch("time.sleep", side_effect=AssertionError("it sleeps")),
        pytest.raises(RequestRefusedError, match="nobody has this token"),
    ):
        access.log_in(Request(scope), "wrong")


@contextlib.contextmanager
def serving(application: object) -> Iterator[tuple[str, int]]:
    """Serve as the console does, in a thread; return where."""
    config = uvicorn.Config(
        application,  # type: ignore[arg-type]
        port=0,
        http=connections.BoundedConnection,
        log_level="critical",
        timeout_keep_alive=1,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def ends(connection: socket.socket) -> bool:
    """Tell whether the other end has ended *connection*, reading nothing of it."""
    try:
        connection.sendall(b"x")
    except OSError:
        return True
    return False


def test_connections_that_ask_nothing_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without descriptors left could not run what is due."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 5)
    monkeypatch.setattr(connections, "NEXT_REQUEST_S", 0.5)
    with serving(Starlette()) as address:
        opened = [socket.create_connection(address, timeout=60) for _ in range(12)]
        for each in opened:  # closed, or else it would wait
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(1) == b""
            each.close()
        monkeypatch.setattr(connections, "NEXT_REQUEST_S", 60.0)  # who asks may be slow to do so
        with socket.create_connection(address, timeout=60) as asking:
            asking.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"404" in asking.recv(100)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX: ", id="the next head"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n", id="a body"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40, id="no answer is read"),
    ],
)
@pytest.mark.timeout(120)
def test_connections_that_go_on_for_ever_are_ended(monkeypatch: pytest.MonkeyPatch, request_: bytes) -> None:
    """A byte now and then kept one open: some hundreds, from anybody, and nobody else saw a page."""
    monkeypatch.setattr(connections, "NEXT_REQUEST_S", 2.0)
    monkeypatch.setattr(connections, "UNREAD_S", 1.0)

    async def large(_: Request) -> Response:
        return Response(b"x" * 1_000_000)

    with (
        serving(Starlette(routes=[Route("/", large)])) as address,
        socket.create_connection(address, timeout=60) as connection,
    ):
        connection.sendall(request_)
        while not ends(connection):
            time.sleep(0.2)


def test_what_is_due_is_tried_again_when_it_could_not_be_started(capsys: pytest.CaptureFixture[str]) -> None:
    """It was never run again, and nobody knew."""
    ended, tries = threading.Event(), []

    def fail(*_: object, **__: object) -> None:
        tries.append(1)
        if len(tries) == 3:
            ended.set()
        raise OSError(24, "Too many open files")

    with mock.patch("subprocess.Popen", fail):
        run_due_until(ended, 0.01, {})
    assert len(tries) == 3
    assert "Too many open files" in capsys.readouterr().err
