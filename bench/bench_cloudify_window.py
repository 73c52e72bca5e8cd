"""The frozen window in Cloudify's own local engine: the old plugin's order, and ours.

Usage: python bench/bench_cloudify_window.py. Installs cfy 7.0.5 and this tree's wheel into an environment of
its own (kept below .lab). 100 nodes, three operations of 50 ms each; both in one process, one after the other.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NODES = 100
THREADS = 64

MEASURE = """
import json, os, re, time
from cloudify.workflows import local
from cloudify import logs

times = {}
def note(message_event):
    now = time.perf_counter()
    text = message_event.get("message", {}).get("text", "")
    if text.startswith("Starting to") and "fs_prepare" in text:
        times.setdefault("first", now)
    if text.startswith("Done") and "fs_finalize" in text:
        times["last"] = now

def quiet(event, *_, **__):
    note(event)

logs.stdout_event_out = quiet
logs.stdout_log_out = lambda *_, **__: None
env = local.init_env("blueprint.yaml", name="examples", storage=local.FileStorage(storage_dir="storage"))
answer = {}
for workflow in ("old_backup", "backup"):
    times.clear()
    env.execute(workflow, parameters={"snapshot_name": workflow}, task_thread_pool_size=THREADS)
    answer[workflow] = times["last"] - times["first"]
print("ANSWER " + json.dumps(answer))
"""


def main() -> int:
    """Measure and print the ratio."""
    lab_module = _load("lab", ROOT / "tests" / "integration" / "cloudify_lab" / "lab.py")
    try:
        place = lab_module.environment()
    except lab_module.CannotInstallError as error:
        print(f"cloudify window: skipped, cfy 7.0.5 cannot be installed: {error}")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        lab = lab_module.Lab(place=place, directory=Path(directory))
        lab.blueprint({f"node{number:03}": {"type": "lab.nodes.Busy"} for number in range(NODES)})
        output = lab.python(f"THREADS = {THREADS}\n{MEASURE}")
    (line,) = [each for each in output.splitlines() if each.startswith("ANSWER ")]
    measured = json.loads(line.removeprefix("ANSWER "))
    old, new = measured["old_backup"], measured["backup"]
    least = 3 * 0.05 * -(-NODES // THREADS)
    print(
        f"cloudify window: {NODES} nodes x 3 operations of 50 ms, {THREADS} threads, Cloudify's local engine"
    )
    print(f"  old plugin's order: frozen {old:7.3f} s")
    print(f"  quiesce:            frozen {new:7.3f} s = {new / old:.3f} of the old (goal: at most 0.5 s)")
    print(f"  the operations themselves need {least:.3f} s with {THREADS} threads: {new / least:.2f} x that")
    return 0


def _load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
