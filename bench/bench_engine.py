"""What the engine costs, each figure beside a baseline of the same run: ``make bench``.

Ratios are to be compared between runs, not seconds: machines differ, and so does the hour.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from quiesce.app.run.execution import Watching, execute
from quiesce.app.services import Services
from quiesce.bootstrap import Application, Settings
from quiesce.cli.main import tune_interpreter
from quiesce.engine import Purpose
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.ids import DeploymentName, ExecutionId, InstanceId, Json, NodeId
from quiesce.model.plan import Plan
from quiesce.model.topology import Instance, Node, Topology
from quiesce.planning import plan_workflow, read_parameters

IDLE = "quiesce.nodes.fake.Idle"
MACHINE = "quiesce.nodes.fake.Machine"


def topology(count: int, kind: str, **properties: Json) -> Topology:
    """Return *count* instances of one node."""
    node = Node(
        id=NodeId("node"),
        type=kind,
        type_hierarchy=("cloudify.nodes.Root", kind),
        properties=properties,
    )
    ids = (InstanceId(f"node_{number:06x}") for number in range(count))
    return Topology(nodes={node.id: node}, instances={i: Instance(id=i, node=node.id) for i in ids})


def run(
    services: Services, name: str, made: Topology, workflow: str, **parameters: Json
) -> tuple[float, Plan]:
    """Plan and run *workflow*; return the seconds it took and the plan."""
    began = time.perf_counter()
    deployment = DeploymentName(name)
    services.deployments.add(
        Deployment(name=deployment, blueprint="", blueprint_dir="", created_at=0.0, topology=made), {}
    )
    read = read_parameters(workflow, parameters, now=0.0)
    plan = plan_workflow(workflow, made, services.descriptions, read)
    execution = Execution(id=ExecutionId(name), deployment=deployment, workflow=workflow, created_at=0.0)
    services.executions.add(execution, plan)
    ended, plan, _ = execute(services, execution, Purpose.FORWARD, Watching(), plan=plan)
    if ended.state != "completed":
        raise SystemExit(f"{name}: {ended.state}: {ended.message}")
    return time.perf_counter() - began, plan


def with_services(action: Callable[[Services], None]) -> None:
    """Run *action* on a database of its own."""
    with tempfile.TemporaryDirectory(prefix="quiesce-bench-") as home:
        application = Application(Settings.of({"QUIESCE_HOME": home}))
        try:
            action(application.services)
        finally:
            application.close()


def cost_of_an_operation(services: Services) -> None:
    """10,000 no-op instances, journal synced; beside as many bare fsyncs of a file as there were commits."""
    count = 10_000
    seconds, plan = run(services, "cost", topology(count, IDLE), "backup", parallel=64, max_freeze=600)
    operations = len([step for step in plan.steps if step.role != "undo"])
    each_ms = 1000 * seconds / operations
    base_ms = 1000 * sync_s()
    print(f"engine, {operations} no-op operations, journal synced: {each_ms:.3f} ms each (goal 0.06)")
    print(
        f"  one commit synced to this disk: {base_ms:.3f} ms; an operation costs {each_ms / base_ms:.3f} of it"
    )
    reference = cloudify_ms()
    if reference is None:
        print("  skipped: cloudify-common's local engine (no .venv-cfy; make reference-parser)")
    else:
        ratio = each_ms / reference
        print(f"  cloudify-common's local engine, no journal: {reference:.3f} ms each; ratio {ratio:.2f}")


def sync_s() -> float:
    """Return the median time of one write of 4 KiB and fsync, in seconds."""
    with tempfile.NamedTemporaryFile(dir=os.environ.get("TMPDIR")) as file:
        times = []
        for _ in range(50):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def cloudify_ms() -> float | None:
    """Return what a no-op operation costs in cloudify-common's local engine, in milliseconds."""
    root = Path(__file__).parents[1]
    python = Path(os.environ.get("QUIESCE_REFERENCE_PYTHON") or root / ".venv-cfy" / "bin" / "python")
    if not python.exists():
        return None
    script = Path(__file__).with_name("cloudify_noop.py")
    told = subprocess.run([python, script], capture_output=True, text=True, check=False)
    try:
        return float(told.stdout.split()[-1])
    except (IndexError, ValueError):
        return None


def frozen_windows(services: Services) -> None:
    """Freeze, cut and thaw of 50 ms each, beside what the operations need: some nodes, and many."""
    frozen_window(services, 100, parallel=64, goal=1.04)
    frozen_window(services, 1_000, parallel=256, goal=1.15)


def frozen_window(services: Services, count: int, *, parallel: int, goal: float) -> None:
    """Print the frozen window of *count* nodes, so many side by side."""
    each_s, name = 0.05, f"window-{count}"
    _, plan = run(
        services,
        name,
        topology(count, MACHINE, seconds=each_s),
        "backup",
        parallel=parallel,
        max_freeze=600,
        snapshot_name=name,
    )
    from quiesce.app.points.window import window_s
    from quiesce.model.history import History

    history = History.of(services.executions.journal(ExecutionId(name)).read())
    window = window_s(plan, history)
    waves = -(-count // parallel)
    needed = 3 * waves * each_s
    print(
        f"frozen window, {count} nodes x 3 operations of 50 ms at parallel {parallel}: "
        f"{window * 1000:.0f} ms; the operations need {needed * 1000:.0f} ms; "
        f"ratio {window / needed:.3f} (goal {goal})"
    )


def many(services: Services) -> None:
    """1,000, 10,000 and 100,000 no-op instances: linear, and within the memory of a small machine."""
    figures = []
    for count in (1_000, 10_000, 100_000):
        made = topology(count, IDLE)
        seconds, _ = run(
            services,
            f"many-{count}",
            made,
            "backup",
            parallel=256,
            max_freeze=6000,
            snapshot_name=f"many-{count}",
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
        figures.append(seconds / count)
        print(f"plan and run of {count} no-op instances: {seconds:.1f} s, peak {peak:.2f} GiB")
    print("  goal for 100,000: 17 s, 0.5 GiB")
    print(f"  per instance, 100,000 beside 10,000: ratio {figures[2] / figures[1]:.2f} (linear: 1.0)")


def start_up() -> None:
    """quiesce --version, beside a bare interpreter."""
    command = [sys.executable, "-m", "quiesce.cli.main", "--version"]
    bare = median_s([sys.executable, "-c", "pass"])
    ours = median_s(command)
    print(f"quiesce --version: {ours * 1000:.0f} ms (goal 150); a bare interpreter: {bare * 1000:.0f} ms")


def median_s(command: list[str]) -> float:
    """Return the median of seven runs, after one that is not counted, in seconds."""
    times = []
    for _ in range(8):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


if __name__ == "__main__":
    tune_interpreter()
    start_up()
    with_services(cost_of_an_operation)
    with_services(frozen_windows)
    with_services(many)
