"""Runs cases with the old plugin's workflows and with ours, in the lab's Python, and prints what was called.

Cases are JSON on standard input: ``[[workflow, parameters], ...]``; so is the answer: for each the calls (or
the error) of the old plugin and of ours.
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


def run(environment, workflow, parameters):
    LOG.write_text("")
    try:
        environment.execute(
            workflow, parameters=dict(parameters), allow_custom_parameters=True, task_retries=0
        )
    except Exception as error:
        return str(error)
    return [json.loads(line) for line in LOG.read_text().splitlines()]


def main():
    environment = local.load_env("examples", local.FileStorage(storage_dir=str(PROFILE)))
    answers = []
    cases = json.load(sys.stdin)
    output = os.dup(1)
    os.dup2(2, 1)
    for workflow, parameters in cases:
        ours = dict(parameters)
        if workflow in {"restore", "remove_backup"}:
            ours["made_elsewhere"] = True
        answers.append([run(environment, f"judge_{workflow}", parameters), run(environment, workflow, ours)])
    os.write(output, json.dumps(answers).encode())


main()
