"""The wire, against a small HTTP server that answers as told: what real services cannot be made to answer."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import (
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
)
from quiesce.providers.openstack.client import Service, SessionClient
from quiesce.providers.openstack.cloud import Cloud
from quiesce.providers.openstack.credentials import read_credentials
from quiesce.providers.openstack.errors import NotAllowedError, QuotaExceededError

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

Answer = tuple[int, Any, dict[str, str]]


class Script:
    """What the server answers next, and what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.logins = 0
        self.login_status = 201
        self.url = ""

    def will(self, status: int, body: Any = None, **headers: str) -> None:
        self.answers.append(
            (status, body or {}, {key.replace("_", "-"): text for key, text in headers.items()})
        )


def handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.endswith("/auth/tokens"):
                script.logins += 1
                self._send(script.login_status, _token(script.url), {"X-Subject-Token": f"t{script.logins}"})
                return
            if self.path.rstrip("/") == "/v3":
                links = [{"rel": "self", "href": f"{script.url}/v3/"}]
                self._send(200, {"version": {"id": "v3.14", "status": "stable", "links": links}}, {})
                return
            script.asked.append((self.command, self.path, dict(self.headers)))
            self._send(*script.answers.pop(0))

        def _send(self, status: int, body: Any, headers: dict[str, str]) -> None:
            if status == 0:
                self.close_connection = True
                return
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def _token(url: str) -> dict[str, Any]:
    kinds = ("compute", "block-storage", "image", "network")
    endpoint = {"interface": "public", "region": "one", "region_id": "one", "id": "e", "url": url}
    return {
        "token": {
            "methods": ["password"],
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "project": {"id": "p1", "name": "p", "domain": {"id": "default", "name": "Default"}},
            "user": {"id": "u1", "name": "u", "domain": {"id": "default", "name": "Default"}},
            "catalog": [{"type": kind, "id": kind, "name": kind, "endpoints": [endpoint]} for kind in kinds],
        }
    }


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(script))
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield script
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(script: Script) -> Iterator[SessionClient]:
    client = SessionClient(credentials(script))
    yield client
    client.close()


def credentials(script: Script) -> Any:
    return read_credentials(
        {
            "auth_url": f"{script.url}/v3",
            "username": "u",
            "password": "hunter2",
            "project_name": "p",
            "region_name": "one",
        }
    )


def test_an_expired_token_is_renewed_in_the_middle(script: Script, client: SessionClient) -> None:
    script.will(200, {"server": {"id": "a"}})
    script.will(401, {"error": {"message": "the token has expired"}})
    script.will(200, {"server": {"id": "b"}})
    client.request(Service.COMPUTE, "GET", "/servers/a")
    assert client.request(Service.COMPUTE, "GET", "/servers/b") == {"server": {"id": "b"}}
    assert script.logins == 2


def test_a_second_refusal_after_a_new_login_is_permanent(script: Script, client: SessionClient) -> None:
    script.will(401)
    script.will(401)
    with pytest.raises(NotAllowedError):
        client.request(Service.COMPUTE, "GET", "/servers/a")


def test_wrong_credentials_are_named_without_the_password(script: Script, client: SessionClient) -> None:
    script.login_status = 401
    with pytest.raises(NotAllowedError) as caught:
        client.request(Service.COMPUTE, "GET", "/servers/a")
    assert "hunter2" not in str(caught.value)


def test_a_rate_limit_says_when_to_come_back(script: Script, client: SessionClient) -> None:
    script.will(429, {"overLimit": {"message": "slowly"}}, Retry_After="7")
    with pytest.raises(RecoverableError, match="slowly") as caught:
        client.request(Service.COMPUTE, "GET", "/servers/a")
    assert caught.value.retry_after_s == 7


def test_an_old_rate_limit_of_413_is_retryable_and_a_quota_is_not(
    script: Script, client: SessionClient
) -> None:
    script.will(413, {"overLimit": {"message": "This request was rate-limited."}}, Retry_After="2")
    script.will(413, {"overLimit": {"message": "VolumeLimitExceeded: Maximum number of volumes allowed"}})
    with pytest.raises(RecoverableError):
        client.request(Service.VOLUME, "POST", "/volumes", body={})
    with pytest.raises(QuotaExceededError):
        client.request(Service.VOLUME, "POST", "/volumes", body={})


#: shapes of answers that were shown in public; names and numbers are invented
RECORDED = (
    # ManageIQ/manageiq-providers-openstack#907
    (
        409,
        {
            "conflictingRequest": {
                "code": 409,
                "message": "Cannot 'createImage' instance i1 while it is in task_state image_uploading",
            }
        },
        RecoverableError,
        "while it is in task_state image_uploading (HTTP 409)",
    ),
    # k-orc/openstack-resource-controller#264: Glance puts it at the top, with line breaks of a page
    (
        409,
        {
            "message": "Image needs to be in 'queued' state<br /><br />\n\n\n",
            "code": "409 Conflict",
            "title": "Conflict",
        },
        RecoverableError,
        "Image needs to be in 'queued' state (HTTP 409)",
    ),
    # vexxhost/atmosphere#467; the class and its status: neutron-lib, OverQuota
    (
        409,
        {
            "NeutronError": {
                "type": "OverQuota",
                "message": "Quota exceeded for resources: ['security_group'].",
                "detail": "",
            }
        },
        QuotaExceededError,
        "Quota exceeded for resources: ['security_group']. (HTTP 409)",
    ),
)


@pytest.mark.parametrize(("status", "body", "kind", "said"), RECORDED, ids=["nova", "glance", "neutron"])
def test_an_answer_as_it_was_shown_in_public_is_understood(
    script: Script, client: SessionClient, status: int, body: Any, kind: type[Exception], said: str
) -> None:
    script.will(status, body)
    with pytest.raises(kind) as caught:
        client.request(Service.COMPUTE, "POST", "/servers/a/action", body={})
    assert type(caught.value) is kind
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_service_in_trouble_is_asked_again(script: Script, client: SessionClient, status: int) -> None:
    script.will(status, b"<html>Bad gateway</html>")
    with pytest.raises(RecoverableError, match="Bad gateway"):
        client.request(Service.IMAGE, "GET", "/images")


def test_a_lost_connection_is_retryable(script: Script, client: SessionClient) -> None:
    script.will(0)
    with pytest.raises(RecoverableError):
        client.request(Service.VOLUME, "POST", "/snapshots", body={})


def test_an_answer_that_does_not_come_may_have_taken_effect(script: Script) -> None:
    client = SessionClient(credentials(script))
    client._session.timeout = 0.3
    silence = threading.Event()
    script.answers = _Silent(silence)
    with pytest.raises(OperationTimeoutError):
        client.request(Service.VOLUME, "POST", "/snapshots", body={})
    silence.set()
    client.close()


class _Silent(list[Answer]):
    """Keeps the server waiting."""

    def __init__(self, silence: threading.Event) -> None:
        super().__init__()
        self._silence = silence

    def pop(self, *_: object) -> Answer:
        self._silence.wait(5)
        return (200, {}, {})


def test_no_server_at_all_is_retryable() -> None:
    client = SessionClient(
        read_credentials(
            {"auth_url": "http://127.0.0.1:9/v3", "username": "u", "password": "p", "project_name": "p"}
        )
    )
    with pytest.raises(RecoverableError):
        client.request(Service.COMPUTE, "GET", "/servers/a")


def test_nothing_to_log_in_with_says_where_it_may_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OS_CLOUD", "OS_AUTH_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ProviderError) as caught:
        SessionClient(read_credentials({"cloud": "no-such-cloud"}))
    assert isinstance(caught.value, NonRecoverableError)
    assert "clouds.yaml" in caught.value.hint


def test_the_environment_logs_in_when_the_blueprint_says_nothing(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("OS_AUTH_URL", f"{script.url}/v3"),
        ("OS_USERNAME", "u"),
        ("OS_PASSWORD", "p"),
        ("OS_PROJECT_NAME", "p"),
        ("OS_USER_DOMAIN_ID", "default"),
        ("OS_PROJECT_DOMAIN_ID", "default"),
        ("OS_REGION_NAME", "one"),
    ):
        monkeypatch.setenv(name, value)
    client = SessionClient(read_credentials({}))
    assert client.project_id == "p1"
    client.close()


def test_requests_are_counted_and_carry_their_version(script: Script, client: SessionClient) -> None:
    script.will(200, {"servers": []})
    script.will(200, {"volumes": []})
    cloud = Cloud(client)
    cloud.servers()
    cloud.volumes()
    assert client.calls["compute GET"] + client.calls["block-storage GET"] >= 2
    assert [asked[1].partition("?")[0] for asked in script.asked] == [
        "/v2.1/servers/detail",
        "/v3/volumes/detail",
    ]
    assert [asked[2]["OpenStack-API-Version"].split()[0] for asked in script.asked] == ["compute", "volume"]


def test_long_lists_are_followed_to_their_end(script: Script, client: SessionClient) -> None:
    script.will(
        200,
        {
            "servers": [{"id": "a"}],
            "servers_links": [{"rel": "next", "href": "http://x/servers?marker=a&limit=1"}],
        },
    )
    script.will(200, {"servers": [{"id": "b"}]})
    assert [server.id for server in Cloud(client).servers()] == ["a", "b"]
    assert "marker=a" in script.asked[1][1]


def test_long_lists_of_images_are_followed_to_their_end(script: Script, client: SessionClient) -> None:
    script.will(200, {"images": [{"id": "a"}], "next": "/v2/images?marker=a&owner=p1"})
    script.will(200, {"images": [{"id": "b"}]})
    assert [image.id for image in Cloud(client).images()] == ["a", "b"]


def test_what_is_not_there_is_none_to_look_at_and_fine_to_delete(
    script: Script, client: SessionClient
) -> None:
    for _ in range(3):
        script.will(404, {"itemNotFound": {"message": "no such thing"}})
    cloud = Cloud(client)
    assert cloud.volume("x") is None
    cloud.delete_volume("x")
    with pytest.raises(ResourceNotFoundError):
        cloud.attach("s", "x", None)


def test_an_image_is_read_piece_by_piece(script: Script, client: SessionClient) -> None:
    script.will(200, b"x" * (3 << 20))
    pieces = list(Cloud(client).download("i1"))
    assert sum(len(piece) for piece in pieces) == 3 << 20
    assert len(pieces) > 1


def test_the_working_directorys_clouds_count_for_nothing(tmp_path: Path) -> None:
    """It may be anybody's, and the SDK would give root's own password to whatever its file names."""
    (tmp_path / "clouds.yaml").write_text("clouds: {ours: {auth: {auth_url: http://stranger/, username: u}}}")
    asked = (
        "from quiesce.providers.openstack.client import region_of\n"
        "from quiesce.providers.openstack.credentials import Credentials\n"
        "print(region_of(Credentials(options={'cloud': 'ours'})).config['auth'])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", asked], check=False, cwd=tmp_path, capture_output=True, text=True
    )

    assert "Cloud ours was not found" in done.stderr
    assert "stranger" not in done.stdout
