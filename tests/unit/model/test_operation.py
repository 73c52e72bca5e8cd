"""Operations: each has a time-out, a name in blueprints, and a place in a workflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from quiesce.engine.attempts import timeout_s
from quiesce.model import operation as module
from quiesce.model.ids import InstanceId, NodeId, StepId
from quiesce.model.operation import INTERFACES, Operation
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Step
from quiesce.planning import WORKFLOWS

SOURCE = Path(module.__file__).read_text()
LAST = '    MEASURE = "measure", 60.0\n'


def _planted(line: str) -> dict[str, object]:
    """Return what the module defines with one more member."""
    assert SOURCE.count(LAST) == 1
    names: dict[str, object] = {"__name__": "planted"}
    exec(compile(SOURCE.replace(LAST, LAST + line), "planted", "exec"), names)
    return names


def _step(operation: Operation) -> Step:
    return Step(
        id=StepId("vm_1.x"),
        instance=InstanceId("vm_1"),
        node=NodeId("vm"),
        operation=operation,
        interface="i",
        provider="p",
        function="f",
        group=0,
    )


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_has_a_time_out(operation: Operation) -> None:
    """One try ends, whether or not the workflow says when."""
    assert timeout_s(_step(operation), Parameters()) == operation.timeout_s > 0


def test_a_planted_operation_without_a_time_out_is_refused() -> None:
    """Whoever adds an operation is told so at the first import, not by a KeyError at night."""
    with pytest.raises(TypeError, match="erase has no time-out"):
        _planted('    ERASE = "erase"\n')


def test_a_planted_operation_with_a_time_out_is_one_line() -> None:
    """Its name and its time stand together."""
    planted = _planted('    ERASE = "erase", 5.0\n')["Operation"]
    assert (planted.ERASE.timeout_s, str(planted("erase"))) == (5.0, "erase")  # type: ignore[attr-defined,operator]


@pytest.mark.parametrize("operation", [o for o in Operation if o is not Operation.COPY])
def test_every_operation_has_a_name_in_blueprints(operation: Operation) -> None:
    """A copy has none: it follows its cut."""
    assert operation in INTERFACES.values()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_operation_of_a_workflow_is_known(name: str) -> None:
    """Planning looks up what each asks of a provider."""
    assert set(WORKFLOWS[name].interfaces) <= INTERFACES.keys()
