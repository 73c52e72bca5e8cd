"""Runs cases with the old plugin's workflows and with ours, in the lab's Python, and prints what was called.

Cases are JSON on standard input: ``[[workflow, parameters, how the engine is started], ...]``; so is the
answer: for each the calls and the error of the old plugin and of ours.
"""

import json
import os
import sys
import types
from pathlib import Path

# of all that the old plugin imports, this is neither its own nor Cloudify's
filters = types.ModuleType("cloudify_common_sdk.filters")
filters.obfuscate_passwords = lambda value: value
sys.modules["cloudify_common_sdk"] = types.ModuleType("cloudify_common_sdk")
sys.modules["cloudify_common_sdk.filters"] = filters
sys.path.append(os.environ["QUIESCE_OLD_PLUGIN"])

from cloudify.workflows import local  # noqa: E402

LOG = Path(os.environ["LAB_DIR"]) / "calls"
PROFILE = Path(os.environ["HOME"]) / ".cloudify" / "profiles" / "local"


def run(environment, workflow, parameters, engine):
    LOG.write_text("")
    error = ""
    try:
        environment.execute(workflow, parameters=dict(parameters), allow_custom_parameters=True, **engine)
    except Exception as raised:
        error = str(raised) or type(raised).__name__
    return {"calls": [json.loads(line) for line in LOG.read_text().splitlines()], "error": error}


def main():
    environment = local.load_env("examples", local.FileStorage(storage_dir=str(PROFILE)))
    answers = []
    cases = json.load(sys.stdin)
    output = os.dup(1)
    os.dup2(2, 1)
    for workflow, parameters, engine in cases:
        ours = dict(parameters)
        if workflow in {"restore", "remove_backup"}:
            ours["made_elsewhere"] = True
        old = run(environment, f"judge_{workflow}", parameters, engine)
        answers.append([old, run(environment, workflow, ours, engine)])
    os.write(output, json.dumps(answers).encode())


main()
