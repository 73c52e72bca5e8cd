"""Answers what cloudify-common's own parser makes of blueprints; runs in that parser's environment.

Reads one JSON request per line, writes one JSON answer per line. A request holds the text of each file,
the name of the main one, the inputs, and whether the parser runs in the directory of the main file: what it
makes of some imports depends on that.
"""

import copy
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from dsl_parser import exceptions, tasks


def answer(request):
    with tempfile.TemporaryDirectory() as directory:
        try:
            return answer_from(directory, request)
        finally:
            os.chdir("/")


def answer_from(directory, request):
    for name, text in request["files"].items():
        path = Path(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    main = str(Path(directory, request["main"]))
    os.chdir(directory if request.get("inside", True) else "/")
    try:
        parsed = tasks.parse_dsl(main, resources_base_path=directory, validate_version=False)
        plan = tasks.prepare_deployment_plan(
            parsed, get_secret_method=lambda name: name, inputs=copy.deepcopy(request["inputs"]) or None
        )
        return {"plan": described(plan)}
    except Exception as error:  # the kind of the error is the answer
        return {"error": str(error), "kind": type(error).__name__, "understood": is_verdict(error)}


def is_verdict(error):
    """Tell whether the parser refuses the blueprint, as opposed to failing itself."""
    return isinstance(
        error,
        (
            exceptions.DSLParsingException,
            exceptions.FunctionEvaluationError,
            exceptions.FunctionValidationError,
            exceptions.MissingRequiredInputError,
            exceptions.UnknownInputError,
            exceptions.UnsupportedAllToOneInGroup,
            exceptions.IllegalConnectedToConnectionType,
        ),
    )


def described(plan):
    nodes = {instance["id"]: instance["node_id"] for instance in plan["node_instances"]}
    return {
        "nodes": [node(each) for each in sorted(plan["nodes"], key=lambda each: each["id"])],
        "workflows": {
            name: {"operation": each["operation"], "plugin": each["plugin"]}
            for name, each in plan["workflows"].items()
        },
        "instances": dict(Counter(nodes.values())),
        "links": sorted(
            [nodes[source["id"]], link["type"], nodes[link["target_id"]]]
            for source in plan["node_instances"]
            for link in source["relationships"]
        ),
        "outputs": {name: each.get("value") for name, each in plan["outputs"].items()},
        "capabilities": {name: each.get("value") for name, each in plan["capabilities"].items()},
        "groups": {
            name: [sorted(each["members"]), int(each["properties"]["default_instances"])]
            for name, each in plan["scaling_groups"].items()
        },
    }


def node(each):
    return {
        "id": each["id"],
        "type": each["type"],
        "type_hierarchy": each["type_hierarchy"],
        "instances": int(each["capabilities"]["scalable"]["properties"]["default_instances"]),
        "properties": each["properties"],
        "relationships": [
            {"target": link["target_id"], "type": link["type"], "type_hierarchy": link["type_hierarchy"]}
            for link in each["relationships"]
        ],
        "operations": {
            name: {
                "plugin": operation["plugin"],
                "operation": operation["operation"],
                "inputs": operation["inputs"],
            }
            for name, operation in each["operations"].items()
            if "." in name and operation["operation"]
        },
    }


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line)), default=str), flush=True)
