"""The function provider keeps the contract when its functions do; with the real cloudify-common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.errors import NonRecoverableError, OperationTimeoutError, ProviderError, RecoverableError
from quiesce.model.call import Call, Related
from quiesce.model.ids import InstanceId, NodeId
from quiesce.model.operation import Operation
from quiesce.model.records import Level
from quiesce.model.topology import Node
from quiesce.ports import Provider, ProviderSettings
from quiesce.providers.function import DESCRIPTION
from quiesce.providers.function.provider import FunctionProvider
from quiesce.testing import ProviderContract, RecordingContext, Subject
from tests.contract.directories import DirectorySubject

from ..integration.cloudify_lab.lab import CannotInstallError, cfy_environment  # noqa: TID252  the same lab

pytestmark = pytest.mark.platform("cloudify-common")

FUNCTIONS = """
import time
from pathlib import Path
from cloudify import ctx
from cloudify.decorators import operation
from cloudify.exceptions import NonRecoverableError, OperationRetry

def here(name):
    return Path(ctx.node.properties["path"]) / name

def lose():
    if here("losing").exists() and not here("answered").exists():
        here("answered").touch()
        time.sleep(60)

@operation
def freeze(**_):
    here("frozen").touch()
    lose()

@operation
def thaw(**_):
    here("frozen").unlink(missing_ok=True)
    lose()

@operation
def suspend(**_):
    here("suspended").touch()

@operation
def resume(**_):
    here("suspended").unlink(missing_ok=True)

@operation
def snapshot(name, **_):
    here("made").mkdir(exist_ok=True)
    if not here("made/" + name).exists():
        here("made/" + name).write_text(here("state").read_text())
    lose()
    return {"objects": [name]}

@operation
def apply(name, **_):
    if not here("made/" + name).exists():
        raise NonRecoverableError("there is no " + name)
    here("state").write_text(here("made/" + name).read_text())

@operation
def delete(name, **_):
    here("made/" + name).unlink(missing_ok=True)

@operation
def measure(**_):
    return {"size_bytes": here("state").stat().st_size}

@operation
def tell(ctx, **kwargs):
    ctx.logger.info("instance %s", ctx.instance.id)
    ctx.logger.warning("careful")
    ctx.instance.runtime_properties["count"] = ctx.instance.runtime_properties.get("count", 0) + 1
    del ctx.instance.runtime_properties["gone"]
    (below,) = ctx.instance.relationships
    return [ctx.node.id, ctx.deployment.id, ctx.operation.name, ctx.operation.retry_number, ctx.workflow_id,
        below.target.instance.runtime_properties["ip"], below.target.node.type, ctx.instance.host_ip,
        ctx.get_resource("text.txt").decode(), sorted(kwargs)]

@operation
def fail(how, **_):
    if how == "never":
        raise NonRecoverableError("never")
    if how == "retry":
        return ctx.operation.retry(message="again", retry_after=7)
    if how == "hang":
        time.sleep(60)
    raise ValueError("oops")
"""


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return cfy_environment() / "bin" / "python"
    except CannotInstallError as error:
        pytest.skip(f"cloudify-common cannot be installed from the package index: {error}")


@pytest.fixture
def plugin(python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "directory_plugin.py").write_text(FUNCTIONS)
    monkeypatch.setenv("QUIESCE_CLOUDIFY_PYTHON", str(python))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugin"))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    return tmp_path


class Directory(DirectorySubject):
    operations = frozenset(Operation) - {Operation.COPY}
    capabilities = DESCRIPTION.capabilities

    def __init__(self, root: Path) -> None:
        self._root = root
        self._providers: list[Provider] = []
        self.properties = {"path": str(root)}
        (root / "state").write_text("")

    @property
    def timeout_s(self) -> float:  # type: ignore[override]
        losing = (self._root / "losing").exists() and not (self._root / "answered").exists()
        return 8.0 if losing else 60.0

    def provider(self) -> Provider:
        self._providers.append(FunctionProvider(ProviderSettings(state_dir="", repository="")))
        return self._providers[-1]

    def close(self) -> None:
        for provider in self._providers:
            provider.close()

    def call(self, operation: Operation, **changes: object) -> Call:
        fields: dict[str, object] = {
            "function": f"directory_plugin.{operation}",
            "blueprint_dir": str(self._root),
            "inputs": {"name": f"{changes.get('point', 'one')}.{changes.get('full', False)}"},
        }
        return super().call(operation, **(fields | changes))

    def lose_answer(self, operation: Operation) -> None:
        (self._root / "losing").touch()


@pytest.fixture
def subject(plugin: Path) -> Iterator[Directory]:
    subject = Directory(plugin)
    yield subject
    subject.close()


class TestFunctionProvider(ProviderContract):
    @pytest.fixture
    def subject(self, plugin: Path) -> Iterator[Subject]:
        subject = Directory(plugin)
        yield subject
        subject.close()

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_an_undo_never_removes_what_another_execution_made(self, subject: Subject, full: bool) -> None:
        pytest.skip("whose object it is, and whether to touch it, is the function's own to know")


def test_a_function_has_the_ctx_that_plugins_expect(subject: Directory, plugin: Path) -> None:
    (plugin / "text.txt").write_text("a file")
    host = Related(
        instance=InstanceId("vm_1"),
        node=Node(id=NodeId("vm"), type="my.VM", type_hierarchy=("cloudify.nodes.Compute", "my.VM")),
        relationship="cloudify.relationships.contained_in",
        runtime_properties={"ip": "10.0.0.7"},
    )
    context = RecordingContext()
    call = subject.call(
        Operation.SUSPEND,
        function="directory_plugin.tell",
        attempt=3,
        workflow="suspend",
        related=(host,),
        runtime_properties={"count": 1, "gone": True},
        inputs={"size": 3, "snapshot_name": "one"},
    )
    outcome = subject.provider().perform(call, context)
    assert outcome.result == [
        "node", "contract", call.interface, 2, "suspend", "10.0.0.7", "my.VM", "10.0.0.7", "a file",
        ["size", "snapshot_name"],
    ]  # fmt: skip
    assert context.runtime_properties == {"count": 2}
    assert (Level.INFO, "instance node_ab12cd") in context.lines
    assert (Level.WARNING, "careful") in context.lines


@pytest.mark.parametrize(
    ("how", "error", "message", "retry_after_s"),
    [
        ("never", NonRecoverableError, "never", None),
        ("retry", RecoverableError, "again", 7.0),
        ("other", RecoverableError, "ValueError: oops", None),
    ],
)
def test_a_function_says_whether_trying_again_helps(
    subject: Directory, how: str, error: type[Exception], message: str, retry_after_s: float | None
) -> None:
    call = subject.call(Operation.SUSPEND, function="directory_plugin.fail", inputs={"how": how})
    with pytest.raises(error, match=message) as caught:
        subject.provider().perform(call, RecordingContext())
    assert caught.value.retry_after_s == retry_after_s  # type: ignore[attr-defined]


def test_a_function_that_hangs_is_killed(subject: Directory) -> None:
    call = subject.call(Operation.FREEZE, function="directory_plugin.fail", inputs={"how": "hang"})
    with pytest.raises(OperationTimeoutError):
        subject.provider().perform(call, RecordingContext(timeout_s=3))


def test_an_examination_tells_what_cannot_be_imported(subject: Directory) -> None:
    provider = subject.provider()
    assert isinstance(provider, FunctionProvider)
    good = subject.call(Operation.FREEZE)
    bad = subject.call(Operation.FREEZE, function="directory_plugin.nothing")
    missing = subject.call(Operation.FREEZE, function="no_such_plugin.freeze")
    passed = [provider.doctor(call, RecordingContext())[0].passed for call in (good, bad, missing)]
    assert passed == [True, False, False]


@pytest.mark.parametrize(
    ("how", "said"), [("never", "NonRecoverableError: never"), ("value", "ValueError: oops")]
)
def test_a_check_that_fails_has_found_something(subject: Directory, how: str, said: str) -> None:
    call = subject.call(Operation.VERIFY, function="directory_plugin.fail", inputs={"how": how})
    found = subject.provider().verify(call, RecordingContext())  # type: ignore[attr-defined]
    assert (found.passed, found.detail) == (False, said)


@pytest.mark.parametrize(("function", "how"), [("fail", "retry"), ("nowhere", ""), ("missing.fail", "")])
def test_a_check_that_cannot_be_made_has_found_nothing(subject: Directory, function: str, how: str) -> None:
    """It asks to be run again, or is not there: that is no damage."""
    call = subject.call(Operation.VERIFY, function=f"directory_plugin.{function}", inputs={"how": how})
    with pytest.raises(ProviderError):
        subject.provider().verify(call, RecordingContext())  # type: ignore[attr-defined]


def test_a_check_that_passes_says_what_it_has_read(subject: Directory) -> None:
    call = subject.call(Operation.VERIFY, function="directory_plugin.measure", inputs={})
    found = subject.provider().verify(call, RecordingContext())  # type: ignore[attr-defined]
    assert (found.passed, found.kind) == (True, "checked")
