"""The canary of every platform with a stand-in that needs no lab: what logs in, and what is repeated of it.

Each platform quotes the secret in an error once; devices and functions print it in what they say.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from quiesce.app.masking import Masking
from quiesce.cli.main import run
from quiesce.errors import NonRecoverableError

from ..integration.cloudify_lab.lab import CannotInstallError, cfy_environment  # noqa: TID252  the same lab
from ..sshd_on_loopback import needs_sshd, sshd  # noqa: TID252  shared by several tests
from .canaries import forms_of, holding, watching
from .shop import CommandLine
from .test_canary import SCRIPT

#: whether the platform is made to fail, and what is run
RUNS = (
    (False, "backup", "-p", "snapshot_name=one"),
    (False, "backup", "-p", "snapshot_name=two", "-p", "snapshot_incremental=false"),
    (True, "backup", "-p", "snapshot_name=bad", "-p", "task_retries=0", "--max-freeze", "5m"),
    (False, "backups", "verify"),
    (False, "suspend"),
    (False, "resume"),
    (False, "statistics"),
    (False, "doctor"),
    (False, "restore", "-p", "snapshot_name=two"),
    (True, "restore", "-p", "snapshot_name=one", "-p", "task_retries=0"),
    (False, "remove-backup", "-p", "snapshot_name=two"),
    (False, "plan", "backup"),
)


#: a property of which is a secret
MY_APP = {
    "derived_from": "cloudify.nodes.Compute",
    "properties": {"token": {"type": "string", "default": {"get_secret": "token"}}},
}


@dataclass(kw_only=True)
class Scene:
    """One platform, as a blueprint's node has it, and what its stand-in needs."""

    node: dict[str, Any]
    secrets: dict[str, str]
    #: what else a secret is called, that is searched
    words: tuple[str, ...] = ()
    #: lets the platform fail, and quote a secret, while it exists
    broken: Path
    environment: dict[str, str] = field(default_factory=dict)
    more_nodes: dict[str, Any] = field(default_factory=dict)
    #: what it says in an error or a log line, the secret masked; empty: it says nothing of it
    masked: str = "refused ******"


@pytest.fixture
def word() -> str:
    return f"quokka-{secrets.token_hex(12)}"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return tmp_path / "broken"


def _refused(broken: Path, word: str) -> None:
    if broken.exists():
        raise NonRecoverableError(f"the login was refused {word}")


@pytest.fixture
def vsphere(word: str, broken: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A vCenter in memory that repeats its password."""
    from quiesce.providers.vsphere.provider import VSphereProvider
    from quiesce.testing.fake_vcenter import FakeVCenter, FakeVCenterWorld

    class Chatty(FakeVCenter):
        def create_snapshot(self, *arguments: Any) -> str:
            _refused(broken, word)
            return super().create_snapshot(*arguments)

        def revert(self, *arguments: Any) -> None:
            _refused(broken, word)
            super().revert(*arguments)

    world = FakeVCenterWorld()
    world.add("web")
    monkeypatch.setattr(VSphereProvider.__init__, "__defaults__", (lambda _: Chatty(world),))
    config = {"host": "memory", "username": "u", "password": {"get_secret": "word"}}
    return Scene(
        node={
            "type": "quiesce.nodes.vsphere.Server",
            "properties": {"connection_config": config, "resource_id": "web"},
        },
        secrets={"word": word},
        broken=broken,
    )


@pytest.fixture
def openstack(word: str, broken: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A cloud in memory that repeats its password."""
    pytest.importorskip("openstack", reason="needs the Python package openstacksdk (quiesce[openstack])")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "unit" / "openstack"))
    from fake_openstack import FakeClient, FakeOpenStack

    from quiesce.provider_kit.listing import Pace
    from quiesce.providers.openstack.provider import OpenStackProvider

    class Chatty(FakeClient):  # type: ignore[misc, unused-ignore]
        def request(self, service: Any, method: str, *arguments: Any, **options: Any) -> Any:
            if method == "POST":
                _refused(broken, word)
            return super().request(service, method, *arguments, **options)

    cloud = FakeOpenStack()
    server = cloud.boot(volumes=1)
    pace = Pace(gather_s=0.0005, least_s=0.0005, most_s=0.002)
    monkeypatch.setattr(OpenStackProvider.__init__, "__defaults__", (None, lambda _: Chatty(cloud), pace))
    config = {"auth_url": "http://h/v3", "username": "u", "password": {"get_secret": "word"}}
    return Scene(
        node={
            "type": "quiesce.nodes.openstack.Server",
            "properties": {"client_config": config, "resource_id": server},
        },
        secrets={"word": word},
        broken=broken,
    )


@pytest.fixture
def gcp(word: str, broken: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Compute Engine's stand-in, and a key that is repeated."""
    pytest.importorskip("google.cloud.compute_v1", reason="the package google-cloud-compute is missing")
    pytest.importorskip("googleapiclient", reason="the package google-api-python-client is missing")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "labs" / "gce"))
    from fakegce import Estate, serve
    from fakegce.estate import PROJECT, ZONE

    from quiesce.providers.gcp.client import Compute

    real = Compute._change

    def chatty(*arguments: Any) -> Any:
        _refused(broken, word)
        return real(*arguments)

    monkeypatch.setattr(Compute, "_change", chatty)
    server, cloud, url = serve(op_seconds=0.01)
    Estate(cloud).machine_with_disks("web", 1)
    config = {"project": PROJECT, "zone": ZONE, "api_endpoint": url, "auth": {"get_secret": "account"}}
    account = json.dumps({"type": "service_account", "project_id": PROJECT, "private_key": word})
    yield Scene(
        node={"type": "quiesce.nodes.gcp.Instance", "properties": {"name": "web", "gcp_config": config}},
        secrets={"account": account},
        words=(word,),
        broken=broken,
    )
    server.shutdown()
    server.server_close()


@pytest.fixture
def libvirt(word: str, broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A hypervisor in memory whose machine's display has a password."""
    pytest.importorskip("libvirt", reason="needs the Python package libvirt-python (quiesce[libvirt])")
    from quiesce.providers.libvirt.provider import LibvirtProvider
    from tests.unit.libvirt.fake_hypervisor import FakeHypervisor, World

    for name in ("disks", "scratch"):
        (tmp_path / name).mkdir()
    world = World(tmp_path / "disks", monkeypatch)
    world.add("vm").password = word
    monkeypatch.setattr(LibvirtProvider.__init__, "__defaults__", (lambda _: FakeHypervisor(world),))
    properties = {
        "libvirt_auth": "fake:///", "resource_id": "vm", "scratch_dir": str(tmp_path / "scratch")
    }  # fmt: skip
    return Scene(
        node={"type": "quiesce.nodes.libvirt.Domain", "properties": properties},
        secrets={},
        words=(word,),
        broken=broken,
        masked="",
    )


@pytest.fixture
def terminal(word: str, broken: Path, tmp_path: Path) -> Iterator[Scene]:
    """A device behind a real sshd that prints its password, whole and wrapped."""
    data = tmp_path / "data"
    for directory in (data, tmp_path / "sshd"):
        directory.mkdir()
    with sshd(tmp_path / "sshd") as server:
        auth = {**server.auth, "key_content": {"get_secret": "key"}, "password": {"get_secret": "word"}}
        says = [{"concat": ["echo refused ", {"get_secret": "word"}]}]
        fails = {"concat": ["echo ", {"get_secret": "word"}, f" | fold -w 9; [ ! -e {broken} ]"]}
        yield Scene(
            node={
                "type": "quiesce.nodes.terminal.Service",
                "properties": {
                    "terminal_auth": {**auth, "store_logs": True},
                    "freeze": [*says, fails],
                    "thaw": ["echo thawed"],
                },
            },
            secrets={"word": word, "key": server.key_content},
            words=tuple(server.key_content.splitlines()[1:-1]),
            more_nodes={"files": {"type": "quiesce.nodes.host.Directory", "properties": {"path": str(data)}}},
            broken=broken,
        )  # fmt: skip


FUNCTIONS = """\
from pathlib import Path
from cloudify.exceptions import NonRecoverableError

def say(ctx, password, broken, **_):
    print("refused", password)
    ctx.logger.warning("refused %s", password)
    if Path(broken).exists():
        raise NonRecoverableError("refused " + password)
    # what a snapshot returns is kept on purpose
    return {"said": "refused " + password} if ctx.operation.name.endswith("perfomance") else None
"""


@pytest.fixture
def function(word: str, broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A function of a plugin that prints, logs, returns and raises what it was given."""
    try:
        python = cfy_environment() / "bin" / "python"
    except CannotInstallError as error:
        pytest.skip(f"cloudify-common cannot be installed from the package index: {error}")
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "canary_plugin.py").write_text(FUNCTIONS)
    say = {
        "implementation": "canary.canary_plugin.say",
        "inputs": {"password": {"get_secret": "word"}, "broken": str(broken)},
    }
    interfaces = {
        "cloudify.interfaces.freeze": dict.fromkeys(("fs_prepare", "fs_finalize", "suspend", "resume"), say),
        "cloudify.interfaces.snapshot": dict.fromkeys(("create", "apply", "delete"), say),
        "cloudify.interfaces.statistics": {"perfomance": say},
    }
    return Scene(
        node={"type": "cloudify.nodes.Root", "interfaces": interfaces},
        secrets={"word": word},
        broken=broken,
        environment={"QUIESCE_CLOUDIFY_PYTHON": str(python), "PYTHONPATH": str(tmp_path / "plugin")},
    )


@pytest.fixture
def script(word: str, broken: Path, quiesce: CommandLine) -> Scene:
    """A script that prints, wraps, encodes, logs and fails with what it was given."""
    path = quiesce.directory / "run.sh"
    path.write_text(SCRIPT.replace("[ ! -e broken ]", f"[ ! -e {broken} ]"))
    path.chmod(0o700)
    say = {"implementation": "run.sh", "inputs": {"password": {"get_secret": "word"}}}
    interfaces = {
        "cloudify.interfaces.freeze": dict.fromkeys(("fs_prepare", "fs_finalize", "suspend", "resume"), say),
        "cloudify.interfaces.snapshot": dict.fromkeys(("create", "apply", "delete"), say),
        "cloudify.interfaces.statistics": {"perfomance": say},
    }
    return Scene(
        node={"type": "my.App", "interfaces": interfaces},
        secrets={"word": word, "token": word[::-1]},
        broken=broken,
    )


@pytest.fixture
def postgresql(word: str, broken: Path) -> Iterator[Scene]:
    """A real server that is asked with a password."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (extra postgresql)")
    from tests.labs.postgresql.server import PostgreSQLServer

    base = Path(tempfile.mkdtemp(prefix="quiesce-pg-"))
    base.chmod(0o755)
    server = PostgreSQLServer(base=base / "server")
    server.start()
    properties = {
        "host": str(server.run_directory),
        "user": "postgres",
        "password": {"get_secret": "word"},
        "data_directory": str(server.data),
    }
    yield Scene(
        node={"type": "quiesce.nodes.postgresql.Server", "properties": properties},
        secrets={"word": word},
        broken=broken,
        masked="",
    )
    server.end()
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
# guards, which end by themselves, are waited for by nobody in a process that runs many commands
@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "platform",
    ["vsphere", "openstack", "gcp", "libvirt", pytest.param("terminal", marks=needs_sshd), "function"],
)
def test_no_secret_is_left_or_shown_by(
    quiesce: CommandLine, request: pytest.FixtureRequest, platform: str
) -> None:
    """Database, home, repository, temporary files, arguments, environments, and all that is shown."""
    scene: Scene = request.getfixturevalue(platform)
    forms = forms_of((*scene.secrets.values(), *scene.words))
    told = _deployed(quiesce, scene)
    statuses, shown = [], []
    with told, watching(forms) as seen:
        for fails, *arguments in RUNS:
            if fails:
                scene.broken.touch()
            status, said = _run(quiesce, *_about_app(arguments))
            scene.broken.unlink(missing_ok=True)
            statuses.append((fails, status, *arguments))
            shown.append(said)
        for execution in quiesce.executions():
            name = execution["id"]
            page = str(quiesce.directory / f"{name}.html")
            for look in (("events", name), ("executions", "show", name), ("report", name, "-o", page)):
                shown += [_run(quiesce, *look)[1]]
    everything = "\n".join(shown)
    # of ours: a function's own is in what it says
    assert not re.search(r"^Traceback", everything, re.MULTILINE)
    assert statuses[0][1] in {0, 8}, shown[0]
    assert statuses[1][1] in {0, 8}, shown[1]
    assert scene.masked in everything
    if scene.masked:
        assert any(fails and status not in {0, 8} for fails, status, *_ in statuses)
    assert [form for form in forms if form in everything.encode()] == []
    assert seen == set()
    found = {path for place in (quiesce.home, quiesce.directory) for path in holding(place, forms)}
    assert found - {quiesce.home / "secrets.yaml"} == set()


def _about_app(arguments: list[str]) -> list[str]:
    names = 2 if arguments[0] in {"backups", "plan"} else 1
    rest = arguments[names:] + (["two"] if arguments[:2] == ["backups", "verify"] else [])
    return [*arguments[:names], "app", *rest]


def _deployed(quiesce: CommandLine, scene: Scene) -> ExitStack:
    """Make a home with the scene's secrets and deployment; what is returned is for the time of the test."""
    quiesce.home.mkdir(mode=0o700)
    kept = quiesce.home / "secrets.yaml"
    kept.touch(mode=0o600)
    kept.write_text(yaml.safe_dump(scene.secrets))
    blueprint = {
        "tosca_definitions_version": "cloudify_dsl_1_3",
        "imports": ["cloudify/types/types.yaml", "plugin:quiesce"],
        "node_types": {"my.App": MY_APP},
        "plugins": {"canary": {"executor": "central_deployment_agent", "install": False}},
        "node_templates": {"node": scene.node, **scene.more_nodes},
    }
    (quiesce.directory / "app.yaml").write_text(yaml.safe_dump(blueprint))
    told = ExitStack()
    home = {"QUIESCE_HOME": str(quiesce.home), "NO_COLOR": "1"}
    told.enter_context(mock.patch.dict(os.environ, {**home, **scene.environment}))
    status, said = _run(quiesce, "init", str(quiesce.directory / "app.yaml"), "-b", "app")
    assert status == 0, said
    return told


def _run(quiesce: CommandLine, *arguments: str) -> tuple[int, str]:
    """Run a command in this process, where the stand-ins are; return its status and what it printed."""
    del quiesce
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = run([*arguments])
    return int(status), said.getvalue()


PLATFORMS = ("script", "vsphere", "openstack", "gcp", "libvirt", "terminal", "function", "postgresql")
TWO = ("app", "-p", "snapshot_name=two", "--full")
ONCE = ("-p", "task_retries=0")
#: what is run against all of them at once: whether the platforms fail, and the command
ALL_RUNS = (
    (False, "plan", "backup", "app"),
    (False, "backup", "app", "-p", "snapshot_name=one"),
    (False, "backup", *TWO),
    (False, "backups", "verify", "app", "two"),
    (False, "backups", "show", "app", "two"),
    (False, "plan", "restore", "app", "-p", "snapshot_name=two", "-p", "snapshot_incremental=false"),
    (False, "restore", *TWO),
    (False, "restore", "app", "--undo", "--include-nodes", "files,postgresql"),
    (False, "restore", "app", "--forget-undo", "--include-nodes", "files,postgresql"),
    (False, "restore", *TWO, "--include-nodes", "files", "--target", "TARGET"),
    (False, "suspend", "app"),
    (False, "resume", "app"),
    (False, "statistics", "app"),
    (True, "backup", "app", "-p", "snapshot_name=bad", *ONCE),
    (True, "suspend", "app", *ONCE),
    (False, "recover", "app"),
    (True, "restore", *TWO, *ONCE),
    (False, "recover", "app"),
    (True, "doctor", "app"),
    (False, "policy", "set", "app", "nightly", "schedule=* * * * *", "dead_man=word"),
    (False, "run-due"),
    (False, "repository", "init", "TARGET/repository", "--passphrase", "word"),
    (False, "repository", "check", "TARGET/repository", "--passphrase", "word"),
    (False, "backups", "rebuild", "app"),
    (False, "backups", "prune", "app", "--keep-last", "2", "--yes"),
    (False, "remove-backup", "app", "-p", "snapshot_name=one"),
    (False, "remove-backup", *TWO),
    (False, "metrics"),
)


class Everything:
    """One deployment of a node on every stand-in that there is, and all that is run and looked at of it."""

    def __init__(self, quiesce: CommandLine, request: pytest.FixtureRequest) -> None:
        self.scenes: dict[str, Scene] = {}
        self.missing: dict[str, str] = {}
        self._quiesce = quiesce
        for name in PLATFORMS:
            try:
                self.scenes[name] = request.getfixturevalue(name)
            except pytest.skip.Exception as reason:
                self.missing[name] = str(reason)
        words = (word for scene in self.scenes.values() for word in (*scene.secrets.values(), *scene.words))
        self.forms = forms_of(dict.fromkeys(words))
        self.places = (quiesce.home, quiesce.directory, Path(tempfile.gettempdir()))
        self.statuses: dict[tuple[str, ...], int] = {}
        self.said: list[str] = []

    def scene(self) -> Scene:
        """Return all scenes as one."""
        scenes = list(self.scenes.values())
        nodes = {name: scene.node for name, scene in self.scenes.items()}
        for each in scenes:
            nodes |= each.more_nodes
        return Scene(
            node=nodes.pop("script"),
            secrets={name: value for each in scenes for name, value in each.secrets.items()},
            broken=scenes[0].broken,
            environment={name: value for each in scenes for name, value in each.environment.items()},
            more_nodes=nodes,
        )

    def run(self, runs: Iterable[tuple[bool | str, ...]]) -> set[str]:
        """Run everything; return the processes that had a secret where others can read it."""
        scene = self.scene()
        with _deployed(self._quiesce, scene), watching(self.forms) as seen:
            for fails, *words in runs:
                command = [str(word).replace("TARGET", str(self._quiesce.directory)) for word in words]
                if fails:
                    scene.broken.touch()
                status, said = _run(self._quiesce, *command)
                scene.broken.unlink(missing_ok=True)
                self.statuses[(str(fails), *map(str, words))] = status
                self.said.append(said)
            self._look()
        return seen

    def _look(self) -> None:
        for execution in self._quiesce.executions():
            name = execution["id"]
            page = str(self._quiesce.directory / f"{name}.html")
            for look in (("events", name), ("executions", "show", name), ("report", name, "-o", page)):
                self.said.append(_run(self._quiesce, *look)[1])

    def found(self) -> tuple[list[bytes], set[Path]]:
        """Return what was shown of a secret, and the files that hold one, but the one that has to."""
        shown = "\n".join(self.said).encode()
        held = {path for place in self.places for path in holding(place, self.forms)}
        return [form for form in self.forms if form in shown], held - {self._quiesce.home / "secrets.yaml"}


@pytest.fixture
def everything(
    quiesce: CommandLine, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Everything]:
    temporary = tempfile.mkdtemp(prefix="qc-")  # short: names of sockets are
    Path(temporary).chmod(0o711)  # a server of another user lies below it
    monkeypatch.setenv("TMPDIR", temporary)
    monkeypatch.setattr(tempfile, "tempdir", temporary)
    yield Everything(quiesce, request)
    shutil.rmtree(temporary, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_secret_of_one_deployment_of_everything_is_left_or_shown(everything: Everything) -> None:
    """All workflows, on all stand-ins at once; a missing one is named."""
    seen = everything.run(ALL_RUNS)
    print("ran", *everything.scenes, "without", everything.missing)
    for command, status in everything.statuses.items():
        print(status, *command)
    shown, held = everything.found()
    failed = [
        run for run in everything.statuses if run[0] == "False" and everything.statuses[run] not in {0, 8}
    ]
    assert failed == [], "\n".join(everything.said)
    assert any(everything.statuses[run] for run in everything.statuses if run[0] == "True")
    assert "refused ******" in "\n".join(everything.said)
    assert shown == []
    assert held == set()
    assert seen == set()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_leaks_is_found(everything: Everything, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without masking it is shown and stored, and all that is planted by hand is seen."""
    monkeypatch.setattr(Masking, "text", lambda _, text: text)
    word = everything.scenes["script"].secrets["word"]
    planted = [place / "planted" for place in everything.places[1:]]
    for path in planted:
        path.write_bytes(gzip.compress(word.encode()))
    with (
        watching(everything.forms) as seen,
        subprocess.Popen(["sh", "-c", "sleep 2; :"], env={"WORD": word}),
        subprocess.Popen(["sh", "-c", "sleep 2; :", word[7:]]),
    ):
        pass
    assert len({each for each in seen if "sleep 2" in each}) >= 2
    everything.run((ALL_RUNS[1], ALL_RUNS[13]))
    shown, held = everything.found()
    assert word.encode() in shown
    assert {*planted} < held
    assert any(everything.places[0] in path.parents for path in held)
