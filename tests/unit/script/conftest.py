"""Runs scripts as operations of one node instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quiesce.model.call import Call
from quiesce.model.ids import DeploymentName, ExecutionId, InstanceId, NodeId, StepId
from quiesce.model.operation import FREEZE_SUSPEND, Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Node
from quiesce.ports import ProviderSettings
from quiesce.providers.script.provider import ScriptProvider
from quiesce.testing import RecordingContext

Run = Callable[..., Outcome]


@pytest.fixture
def context() -> RecordingContext:
    return RecordingContext(timeout_s=30)


@pytest.fixture
def provider() -> Iterator[ScriptProvider]:
    provider = ScriptProvider(ProviderSettings(state_dir="", repository=""))
    yield provider
    provider.close()


@pytest.fixture
def run(tmp_path: Path, context: RecordingContext, provider: ScriptProvider) -> Run:
    """Run a script given as text: ``run("suspend.sh", "echo hello", size=3)``."""

    def run(name: str, text: str, /, *, call: dict[str, Any] | None = None, **inputs: Any) -> Outcome:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return provider.perform(
            a_call(tmp_path, inputs={"script_path": name, **inputs}, **(call or {})), context
        )

    return run


def a_call(blueprint_dir: Path, **changes: Any) -> Call:
    properties = {"resource_id": "Server!", "network": {"addresses": [{"ip": "10.0.0.7"}]}}
    node = Node(
        id=NodeId("server"),
        type="server_type",
        type_hierarchy=("cloudify.nodes.Root", "server_type"),
        properties=properties,
    )
    fields: dict[str, Any] = {
        "operation": Operation.SUSPEND,
        "interface": FREEZE_SUSPEND,
        "function": "script_runner.tasks.run",
        "deployment": DeploymentName("examples"),
        "execution": ExecutionId("exec1"),
        "workflow": "suspend",
        "step": StepId("server_ab12cd.suspend"),
        "attempt": 1,
        "instance": InstanceId("server_ab12cd"),
        "node": node,
        "properties": properties,
        "runtime_properties": {"count": 1, "gone": True},
        "parameters": Parameters(task_retries=7),
        "blueprint_dir": str(blueprint_dir),
    }
    return Call(**(fields | changes))
