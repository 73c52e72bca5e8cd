"""The old plugin is the judge: the same calls with the same values, or a difference that is documented.

Its source is fetched by whoever runs this, and never a part of quiesce: ``QUIESCE_OLD_PLUGIN`` is a directory
that holds ``cloudify_suspend``.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from .cloudify_lab.lab import HERE, Lab

OLD = os.environ.get("QUIESCE_OLD_PLUGIN", "")

pytestmark = [
    pytest.mark.platform("cfy"),
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not OLD, reason="QUIESCE_OLD_PLUGIN does not say where the old plugin's source is"),
]

WORKFLOWS = ("suspend", "resume", "statistics", "backup", "restore", "remove_backup")
COMPUTE = "cloudify.nodes.Compute"
#: what the old plugin's own file gives where nothing is said
OLD_DEFAULTS = {
    "snapshot_name": "",
    "snapshot_incremental": True,
    "snapshot_type": "irregular",
    "snapshot_rotation": 1,
}
OPERATIONS = {
    "cloudify.interfaces.lifecycle": ("suspend", "resume"),
    "cloudify.interfaces.freeze": ("suspend", "resume", "fs_prepare", "fs_finalize"),
    "cloudify.interfaces.snapshot": ("create", "apply", "delete"),
    "cloudify.interfaces.statistics": ("perfomance",),
}

#: parameters by what they are about; ``{instance}`` is one of the topology
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "nothing": {},
    "a name": {"snapshot_name": "one"},
    "a full copy": {"snapshot_name": "one", "snapshot_incremental": False},
    "type and rotation": {"snapshot_name": "one", "snapshot_type": "daily", "snapshot_rotation": 7},
    "no rotation": {"snapshot_name": "one", "snapshot_rotation": -1},
    "numbers as text": {"snapshot_name": "one", "snapshot_rotation": "5", "snapshot_incremental": "false"},
    "one instance": {"snapshot_name": "one", "include_instances": ["{instance}"]},
    "computes": {"snapshot_name": "one", "include_node_types": [COMPUTE]},
    "no computes": {"snapshot_name": "one", "exclude_node_types": [COMPUTE]},
    "something of their own": {"snapshot_name": "one", "tags": {"team": "blue", "list": [1, "two"]}},
    "a name with a space": {"snapshot_name": "before the move/2"},
}


def node(kind: str, *links: str, instances: int = 1, without: Sequence[str] = (), **properties: Any) -> Any:
    """Return a node of *kind* with every operation but *without*; a link is ``relationship:target``."""
    interfaces = {
        interface: {name: "lab.lab_operations.record" for name in names if name not in without}
        for interface, names in OPERATIONS.items()
    }
    return {
        "type": f"cases.nodes.{kind}",
        "properties": properties,
        "capabilities": {"scalable": {"properties": {"default_instances": instances}}},
        "interfaces": {name: given for name, given in interfaces.items() if given},
        "relationships": [
            {"type": f"cloudify.relationships.{each.partition(':')[0]}", "target": each.partition(":")[2]}
            for each in links
        ],
    }


TOPOLOGIES: Mapping[str, Mapping[str, Any]] = {
    "tiers": {
        "web": node("Service", "contained_in:vm", "depends_on:db"),
        "db": node("Service", "contained_in:vm"),
        "vm": node("Machine"),
    },
    "many instances": {
        "web": node("Service", "contained_in:vm", instances=2),
        "vm": node("Machine", instances=2),
        "disk": node("Service", "depends_on:vm", without=("fs_prepare", "fs_finalize")),
    },
    "gaps": {
        "skipping": node("Machine", skip_actions=["cloudify.interfaces.snapshot.create"]),
        "bare": node("Service", without=list(itertools.chain(*OPERATIONS.values()))),
        "unfrozen": node("Machine", without=("fs_prepare", "fs_finalize", "delete")),
        "alone": node("Service"),
    },
}

#: differences, each a row of docs/cloudify.md: (workflow or any, parameters) and why
DOCUMENTED = {
    **{
        (workflow, kind): "the selection holds throughout; the old plugin lost it before the snapshot"
        for workflow in ("backup", "restore")
        for kind in ("computes", "no computes")
    },
    ("backup", "a name with a space"): "such a name is not made any more",
    **{
        (workflow, "numbers as text"): "they are handed on in their own type"
        for workflow in ("backup", "restore", "remove_backup")
    },
}


def prepared(place: Path, directory: Path, nodes: Mapping[str, Any]) -> Lab:
    """Return a lab in which the workflows of both are known."""
    lab = Lab(place=place, directory=directory)
    blueprint = lab.blueprint(dict(nodes))
    content = yaml.safe_load(blueprint.read_text())
    skip = {"properties": {"skip_actions": {"default": []}}}
    content["node_types"] = {
        "cases.nodes.Service": {"derived_from": "cloudify.nodes.SoftwareComponent", **skip},
        "cases.nodes.Machine": {"derived_from": COMPUTE, **skip},
    }
    content["plugins"] = {"old": {"executor": "central_deployment_agent", "install": False}}
    content["workflows"] = {
        f"judge_{name}": {
            "mapping": f"old.cloudify_suspend.workflows.{name}",
            "parameters": {key: {"default": value} for key, value in _old_defaults(name).items()},
        }
        for name in WORKFLOWS
    }
    blueprint.write_text(yaml.safe_dump(content))
    lab.cfy("init", str(blueprint), "-b", "examples")
    return lab


def _old_defaults(workflow: str) -> Mapping[str, Any]:
    kept = {"backup": OLD_DEFAULTS.keys(), "restore": {"snapshot_name", "snapshot_incremental"}}
    names = kept.get("restore" if workflow == "remove_backup" else workflow, set())
    return {name: value for name, value in OLD_DEFAULTS.items() if name in names}


def cases(lab: Lab) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give workflow, kind of parameters, and parameters."""
    found = sorted(lab.directory.glob(".cloudify/profiles/local/deployments/examples/node-instances/*.json"))
    number = 0
    for workflow, (kind, given) in itertools.product(WORKFLOWS, PARAMETERS.items()):
        text = json.dumps(given).replace("{instance}", found[-1].stem)
        parameters = json.loads(text)
        if workflow == "backup" and "snapshot_name" in parameters:
            number += 1
            parameters["snapshot_name"] += f"-{number}"
        yield workflow, kind, parameters


def calls(answer: list[dict[str, Any]] | str) -> Counter[str] | str:
    """Return the calls as they can be compared, whatever their order; an error as that it is one."""
    if isinstance(answer, str):
        return "refused"
    return Counter(
        json.dumps([each["instance"], each["operation"], compared(each["given"])], sort_keys=True)
        for each in answer
    )


def compared(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an operation of a blueprint reads: no selection; a name that the time gave as such."""
    name = str(given.get("snapshot_name", ""))
    shown = {"snapshot_name": "the time's"} if name.startswith("backup-") else {}
    return {
        key: value for key, value in given.items() if not key.startswith(("include_", "exclude_"))
    } | shown


def steps(answer: list[dict[str, Any]]) -> list[str]:
    """Return the operations in their order, each once."""
    return [operation for operation, _ in itertools.groupby(each["operation"] for each in answer)]


@pytest.mark.parametrize("where", TOPOLOGIES)
def test_every_call_is_the_old_plugins_or_documented(cfy_place: Path, tmp_path: Path, where: str) -> None:
    lab = prepared(cfy_place, tmp_path, TOPOLOGIES[where])
    wanted = list(cases(lab))
    done = subprocess.run(
        [str(cfy_place / "bin" / "python"), str(HERE / "side_by_side.py")],
        input=json.dumps([[workflow, parameters] for workflow, _, parameters in wanted]),
        env={**lab.env(), "QUIESCE_OLD_PLUGIN": OLD},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    different = {}
    for (workflow, kind, _), (old, ours) in zip(wanted, json.loads(done.stdout), strict=True):
        same = calls(old) == calls(ours) and (isinstance(old, str) or steps(old) == steps(ours))
        if not same:
            different[workflow, kind] = f"old: {old}\nours: {ours}"
    unexplained = {case: told for case, told in different.items() if case not in DOCUMENTED}
    print(f"{where}: {len(wanted)} cases, {len(different)} differ, all documented: {sorted(different)}")
    if where == "tiers":
        assert set(DOCUMENTED) <= different.keys(), "what is documented as different is the same"
    assert unexplained == {}, "\n\n".join(f"{case}\n{told}" for case, told in unexplained.items())
