"""What the guard costs: the frozen window and the engine's cost with it, beside the same without it."""

from __future__ import annotations

import statistics
import tempfile
import time

from bench_engine import MACHINE, topology

from quiesce.app.points.window import window_s
from quiesce.app.run.execution import NoGuard, Watching, execute
from quiesce.bootstrap import Application, Settings, start_guard
from quiesce.engine import Purpose
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.history import History
from quiesce.model.ids import DeploymentName, ExecutionId
from quiesce.planning import plan_workflow, read_parameters
from quiesce.ports import Guard

RUNS = 9
NODES = 200


def one_run(application: Application, name: str, guard: Guard) -> tuple[float, float]:
    """Back up NODES idle machines; return the window and the whole time, in seconds."""
    services = application.services
    made = topology(NODES, MACHINE)
    deployment = DeploymentName(name)
    services.deployments.add(
        Deployment(name=deployment, blueprint="", blueprint_dir="", created_at=0.0, topology=made), {}
    )
    parameters = read_parameters("backup", {"parallel": 64}, now=0.0)
    plan = plan_workflow("backup", made, services.descriptions, parameters)
    execution = Execution(id=ExecutionId(name), deployment=deployment, workflow="backup", created_at=0.0)
    services.executions.add(execution, plan)
    guard.prepare(execution.id)
    guard.watch(30.0)
    began = time.perf_counter()
    execute(services, execution, Purpose.FORWARD, Watching(), guard=_Watched(guard))
    spent = time.perf_counter() - began
    history = History.of(services.executions.journal(execution.id).read())
    return window_s(plan, history), spent


class _Watched:
    """A guard that has answered already, so that its start is not counted as the engine's cost."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.window_opened = guard.window_opened
        self.release = guard.release
        self.prepare = guard.prepare

    def watch(self, max_freeze_s: float) -> None:
        """Answered already."""


def main() -> None:
    """Measure both in turn."""
    with tempfile.TemporaryDirectory(prefix="quiesce-bench-") as home:
        settings = Settings.of({"QUIESCE_HOME": home})
        application = Application(settings)
        figures: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
        for run in range(RUNS):
            figures["with"].append(one_run(application, f"with-{run}", start_guard(settings)))
            figures["without"].append(one_run(application, f"without-{run}", NoGuard()))
        application.close()
    window = {key: statistics.median(w for w, _ in runs) for key, runs in figures.items()}
    cost = {key: statistics.median(s for _, s in runs) for key, runs in figures.items()}
    more_ms = (window["with"] - window["without"]) * 1000
    print(f"frozen window of {NODES} idle machines: {window['with'] * 1000:.1f} ms with a guard,")
    print(f"  {window['without'] * 1000:.1f} ms without: {more_ms:+.1f} ms (goal 5)")
    ratio = cost["with"] / cost["without"]
    print(f"engine's cost with a guard beside without: ratio {ratio:.3f} (goal 1.10)")


if __name__ == "__main__":
    main()
