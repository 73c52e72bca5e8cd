"""The terminal provider keeps the contract when its commands do: a directory frozen and copied over SSH."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.model.call import Call
from quiesce.model.ids import DeploymentName, NodeId
from quiesce.model.operation import FS_FINALIZE, FS_PREPARE, Operation
from quiesce.model.topology import Implementation, Node
from quiesce.ports import Provider, ProviderSettings
from quiesce.providers.terminal import DESCRIPTION
from quiesce.testing import ProviderContract, Subject
from tests.contract.directories import DirectorySubject

from ..sshd_on_loopback import Server, needs_sshd, sshd  # noqa: TID252  shared by two kinds of test

pytest.importorskip("paramiko", reason="paramiko is not installed: pip install 'quiesce[ssh]'")

from quiesce.providers.terminal.provider import TerminalProvider

pytestmark = [needs_sshd, pytest.mark.platform("sshd")]

COMMANDS = {
    Operation.FREEZE: "touch frozen",
    Operation.THAW: "rm -f frozen",
    Operation.SUSPEND: "touch suspended",
    Operation.RESUME: "rm -f suspended",
    Operation.SNAPSHOT: "mkdir -p made && { [ -e made/{{ name }} ] || cp state made/{{ name }}; }",
    Operation.APPLY: "[ -e made/{{ name }} ] || echo missing; cp made/{{ name }} state",
    Operation.DELETE: "rm -f made/{{ name }}",
    Operation.MEASURE: "wc -c < state",
}
FUNCTION = "cloudify_terminal.tasks.run"
#: a timer on the far side is found by its deployment's name, and all tests have the same far side
DEPLOYMENT = DeploymentName(f"contract-{os.getpid()}")


class DirectoryOverSsh(DirectorySubject):
    operations = frozenset(COMMANDS)
    capabilities = DESCRIPTION.capabilities
    short_timer_s = 6.0

    def __init__(self, server: Server, root: Path) -> None:
        self._root = root
        self._providers: list[Provider] = []
        self._losing: set[Operation] = set()
        self.properties = {"terminal_auth": server.auth}  # type: ignore[dict-item]
        (root / "state").write_text("")

    @property
    def timeout_s(self) -> float:  # type: ignore[override]
        return 3.0 if self._losing and not (self._root / "answered").exists() else 60.0

    def provider(self) -> Provider:
        self._providers.append(TerminalProvider(ProviderSettings(state_dir="", repository="")))
        return self._providers[-1]

    def close(self) -> None:
        for provider in self._providers:
            provider.close()

    def call(self, operation: Operation, **changes: object) -> Call:
        name = f"{changes.get('point', 'one')}.{changes.get('full', False)}"
        thaw = Implementation(
            plugin="t", function=FUNCTION, inputs={"calls": self._calls(Operation.THAW, name)}
        )
        node = Node(
            id=NodeId("node"),
            type="t",
            type_hierarchy=("t",),
            operations={FS_PREPARE: Implementation(plugin="t", function=FUNCTION), FS_FINALIZE: thaw},
        )
        inputs = {"calls": self._calls(operation, name)}
        fields = {"deployment": DEPLOYMENT, "node": node, "inputs": inputs, "function": FUNCTION}
        fields["thaw_inputs"] = thaw.inputs
        return super().call(operation, **(fields | changes))

    def lose_answer(self, operation: Operation) -> None:
        self._losing.add(operation)

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def _calls(self, operation: Operation, name: str) -> list:  # type: ignore[type-arg]
        command = f"cd {shlex.quote(str(self._root))} && {COMMANDS.get(operation, 'true')}"
        if operation in self._losing:
            command += "; [ -e answered ] || { touch answered; sleep 60; }"
        return [
            {
                "template_text": command,
                "params": {"name": name},
                "criticals": ["missing"],
                **({"save_to": "size_bytes"} if operation is Operation.MEASURE else {}),
            }
        ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


class TestTerminalProvider(ProviderContract):
    @pytest.fixture
    def subject(self, server: Server, tmp_path: Path) -> Iterator[Subject]:
        subject = DirectoryOverSsh(server, tmp_path)
        yield subject
        subject.close()

    @pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])
    def test_an_undo_never_removes_what_another_execution_made(self, subject: Subject, full: bool) -> None:
        pytest.skip("whose object it is, and whether to touch it, is the commands' own to know")
