"""Two hundred machines: requests and time of one quiesce backup, beside a sequential pyvmomi script.

Both talk to the simulator of tests/labs/vcenter (make lab-vcenter), whose tasks take a stated time. The
script is as thrifty as sequential scripts get: it lists the machines once, then snapshots one after the
other and waits for each task as pyVim.task does.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print one row for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--task-ms", type=int, default=200)
    parser.add_argument("--parallel", type=int, default=64)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run(Path(directory), chosen)


def run(directory: Path, chosen: argparse.Namespace) -> None:
    """Run both on one simulator."""
    lab = runpy.run_path(str(ROOT / "tests" / "labs" / "vcenter" / "lab.py"))
    with lab["Lab"](directory, machines=chosen.machines, task_delay=f"{chosen.task_ms}ms") as simulator:
        names = sorted(simulator.machines())
        quiesce = _deployment(directory, simulator, names)
        print(f"{len(names)} machines, each task takes {chosen.task_ms} ms, {os.cpu_count()} processors")
        print(f"{'':44}{'requests':>10}{'seconds':>10}")
        _measure(simulator, "sequential pyvmomi script, snapshots", lambda: _script(simulator))
        for machine in simulator.machines().values():
            simulator.run(machine.RemoveAllSnapshots_Task())
        parallel = ["-p", f"parallel={chosen.parallel}"]
        for title, *command in (
            ("quiesce backup (snapshots)", "backup", "shop", "-p", "snapshot_name=one", *parallel),
            (
                "quiesce restore",
                "restore",
                "shop",
                "-p",
                "snapshot_name=one",
                "-p",
                "safety_snapshot=false",
                *parallel,
            ),
            ("quiesce remove-backup", "remove-backup", "shop", "-p", "snapshot_name=one", *parallel),
            ("quiesce statistics", "statistics", "shop", *parallel),
        ):
            _measure(simulator, title, lambda command=command: quiesce(*command))


def _measure(simulator: Any, title: str, action: Callable[[], None]) -> None:
    simulator.forget_calls()
    began = time.perf_counter()
    action()
    seconds = time.perf_counter() - began
    print(f"{title:44}{sum(simulator.calls().values()):10}{seconds:10.1f}", flush=True)


def _script(simulator: Any) -> None:
    from pyVim.task import WaitForTask
    from pyVmomi import vim

    content = simulator.content
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    for machine in view.view:
        WaitForTask(machine.CreateSnapshot_Task("script", "", False, False))


def _deployment(directory: Path, simulator: Any, names: list[str]) -> Callable[..., None]:
    templates = {
        f"machine{number}": {
            "type": "cloudify.vsphere.nodes.Server",
            "properties": {
                "connection_config": simulator.connection,
                "use_external_resource": True,
                "server": {"name": name},
            },
        }
        for number, name in enumerate(names)
    }
    blueprint = {
        "tosca_definitions_version": "cloudify_dsl_1_3",
        "imports": ["https://cloudify.co/spec/cloudify/4.6/types.yaml", "plugin:cloudify-vsphere-plugin"],
        "node_templates": templates,
    }
    (directory / "blueprint.yaml").write_text(json.dumps(blueprint))
    environment = {**os.environ, "QUIESCE_HOME": str(directory / "home")}

    def quiesce(*arguments: str) -> None:
        command = [str(Path(sys.executable).parent / "quiesce"), *arguments]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

    quiesce("init", str(directory / "blueprint.yaml"), "-b", "shop")
    return quiesce


if __name__ == "__main__":
    main()
