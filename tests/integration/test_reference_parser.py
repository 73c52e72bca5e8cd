"""Generated blueprints mean to us what they mean to cloudify-common's own parser."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from quiesce.blueprint import InvalidBlueprintError, describe, instantiate, load_blueprint

from . import reference_cases

ROOT = Path(__file__).parents[2]
SERVER = Path(__file__).with_name("reference_parser_server.py")
WRITTEN = sorted(path for path in Path(__file__).with_name("reference_blueprints").iterdir() if path.is_dir())

Json = Any

BASE: dict[str, Json] = {
    "tosca_definitions_version": "cloudify_dsl_1_3",
    "plugins": reference_cases.BASE["plugins"],
    "node_types": {
        "cloudify.nodes.Root": {
            "properties": {"use_external_resource": {"type": "boolean", "default": False}},
            "interfaces": {"life": {"create": {}, "start": {}, "stop": {}}},
        },
        "cloudify.nodes.Compute": {
            "derived_from": "cloudify.nodes.Root",
            "properties": {"ip": {"default": ""}},
        },
    },
    "relationships": reference_cases.BASE["relationships"],
    "workflows": {"install": "tool.flows.install"},
}


def interpreter() -> Path | None:
    named = os.environ.get("QUIESCE_REFERENCE_PYTHON")
    path = Path(named) if named else ROOT / ".venv-cfy" / "bin" / "python"
    return path if path.exists() else None


class Reference:
    """The reference parser, in a process of its own."""

    def __init__(self, python: Path) -> None:
        self.process = subprocess.Popen(
            [str(python), str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(
        self, files: Mapping[str, str], inputs: Mapping[str, Json], *, inside: bool = True
    ) -> dict[str, Json]:
        """Return the answer; *inside* the blueprint's directory, or from elsewhere."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"files": dict(files), "main": "blueprint.yaml", "inputs": dict(inputs)}
        request["inside"] = inside
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Json] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=30)


@pytest.fixture(scope="session")
def reference() -> Iterator[Reference]:
    python = interpreter()
    if python is None:
        pytest.skip(
            "cloudify-common 7.0.5 is not there: 'make reference-parser', or set QUIESCE_REFERENCE_PYTHON"
        )
    asked = Reference(python)
    yield asked
    asked.close()


def ours(files: Mapping[str, str], inputs: Mapping[str, Json], directory: Path) -> dict[str, Json]:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    blueprint = load_blueprint(directory / "blueprint.yaml", inputs=inputs)
    topology = instantiate(blueprint, random.Random(1).choice)
    node_of = {instance.id: instance.node for instance in topology.instances.values()}
    plan = describe(blueprint)["plan"]
    assert isinstance(plan, dict)
    return {
        "nodes": plan["nodes"],
        "workflows": plan["workflows"],
        "instances": dict(Counter(node_of.values())),
        "links": sorted(
            [instance.node, link.type, node_of[link.target]]
            for instance in topology.instances.values()
            for link in instance.links
        ),
        "outputs": dict(blueprint.outputs),
        "capabilities": dict(blueprint.capabilities),
        "groups": {
            name: [sorted(group.members), group.instances] for name, group in blueprint.groups.items()
        },
    }


SCALARS = st.one_of(
    st.integers(-3, 3),
    st.booleans(),
    st.sampled_from(["", "a", "b-c", "x y", "1"]),
    st.sampled_from([0.5, 2.0]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["k", "l", "type"]), inner, max_size=2)
    ),
    max_leaves=4,
)
BY_TYPE: dict[str, st.SearchStrategy[Json]] = {
    "string": st.sampled_from(["", "a", "text"]),
    "integer": st.integers(-2, 9),
    "float": st.sampled_from([1, 2.5]),
    "boolean": st.booleans(),
    "list": st.lists(SCALARS, max_size=2),
    "dict": st.dictionaries(st.sampled_from(["k", "l"]), SCALARS, max_size=2),
    "regex": st.sampled_from(["a+", "[0-9]"]),
}
NAMES = ["alpha", "beta", "gamma"]


class Draw:
    """Draws the parts of one blueprint."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.inputs: list[str] = []
        self.data_types: dict[str, Json] = {}
        self.nodes: dict[str, list[str]] = {}

    def often(self) -> bool:
        return self.draw(st.integers(0, 3)) > 0

    def rarely(self) -> bool:
        return self.draw(st.integers(0, 29)) == 17

    def one_of(self, items: list[Any]) -> Any:
        return self.draw(st.sampled_from(items))

    def typed(self, kind: str | None) -> Json:
        if self.rarely() and self.rarely():
            return self.draw(VALUES)
        if kind in self.data_types:
            schema = self.data_types[kind]["properties"]
            return {
                name: self.typed(each.get("type"))
                for name, each in schema.items()
                if self.draw(st.booleans())
            }
        return self.draw(BY_TYPE[kind] if kind else VALUES)

    def schema(self, types: list[str | None]) -> dict[str, Json]:
        result = {}
        for name in self.draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3)):
            kind = self.one_of(types)
            each: dict[str, Json] = {} if kind is None else {"type": kind}
            if self.often():
                each["default"] = self.typed(kind)
            if self.draw(st.booleans()):
                each["required"] = self.draw(st.booleans())
            result[name] = each
        return result

    def property_types(self) -> list[str | None]:
        return [None, *BY_TYPE, *self.data_types]

    def function(self, node: str) -> Json:
        arguments = [
            {"get_secret": "s"},
            {"get_attribute": [node, "alpha"]},
            {"get_property": ["SELF", self.one_of(NAMES)]},
            {"concat": ["x", 1, {"get_secret": "s"}]},
            {"concat": ["x", {"concat": ["y", 2]}]},
            {"merge": [{"a": 1}, {"b": 2, "a": 3}]},
            {"string_upper": "up"},
            {"string_lower": {"concat": ["UP", "X"]}},
            {"string_split": ["a-b-c", "-", 1]},
            {"string_find": ["abc", "c"]},
            {"string_replace": ["abab", "a", "z", 1]},
            {"get_sys": ["deployment", "id"]},
        ]
        arguments += [{"get_input": name} for name in self.inputs]
        arguments += [{"concat": [{"get_input": name}, "-end"]} for name in self.inputs]
        others = [other for other in self.nodes if other != node]
        arguments += [{"get_property": [other, name]} for other in others for name in self.nodes[other]]
        return self.one_of(arguments)

    def value(self, kind: str | None, node: str) -> Json:
        if self.draw(st.integers(0, 4)) == 0:
            return self.function(node)
        if kind is None and self.draw(st.integers(0, 4)) == 0:
            return {"inside": [self.function(node)]}
        return self.typed(kind)

    def operation(self, *, of_type: bool, node: str = "SELF") -> Json:
        implementation = self.one_of(["tool.do", "tool.other", "", "script.sh", "line one\nline two"])
        if self.draw(st.integers(0, 3)) == 0:
            return implementation
        result: dict[str, Json] = {}
        if self.often():
            result["implementation"] = implementation
        if self.draw(st.booleans()):
            result["inputs"] = (
                self.schema([None, "string", "integer", "dict"])
                if of_type
                else {
                    name: self.value(None, node)
                    for name in self.draw(st.sets(st.sampled_from(NAMES), max_size=2))
                }
            )
            for each in result["inputs"].values() if of_type else ():
                each.setdefault("default", 1)
                each.pop("type", None) if self.often() else None
        if self.draw(st.integers(0, 4)) == 0:
            result["max_retries"] = self.draw(st.integers(-1, 3))
        return result

    def interfaces(self, *, of_type: bool, node: str = "SELF") -> dict[str, Json]:
        return {
            interface: {
                name: self.operation(of_type=of_type, node=node)
                for name in self.draw(st.sets(st.sampled_from(["create", "start", "snap"]), max_size=2))
            }
            for interface in self.draw(st.sets(st.sampled_from(["life", "freeze"]), max_size=2))
        }

    def count(self) -> int | dict[str, str]:
        return self.draw(st.integers(0, 3))


@st.composite
def blueprints(draw: st.DrawFn) -> tuple[dict[str, Json], dict[str, Json]]:
    """Draw a blueprint, mostly a right one, and its inputs."""
    parts = Draw(draw)
    blueprint: dict[str, Json] = json.loads(json.dumps(BASE))
    given_inputs = _inputs(parts, blueprint)
    _data_types(parts, blueprint)
    node_types = _node_types(parts, blueprint)
    relationship_types = _relationship_types(parts, blueprint)
    _nodes(parts, blueprint, node_types, relationship_types)
    _groups(parts, blueprint)
    _outputs(parts, blueprint)
    return blueprint, given_inputs


def _inputs(parts: Draw, blueprint: dict[str, Json]) -> dict[str, Json]:
    declared, given_inputs = {}, {}
    for name in parts.draw(st.sets(st.sampled_from(["one", "two"]), max_size=2)):
        kind = parts.one_of([None, "string", "integer", "boolean", "list"])
        declared[name] = {} if kind is None else {"type": kind}
        if parts.draw(st.booleans()):
            declared[name]["default"] = parts.typed(kind)
        if not parts.rarely():
            given_inputs[name] = parts.typed(kind)
        parts.inputs.append(name)
    if declared:
        blueprint["inputs"] = declared
    return given_inputs


def _data_types(parts: Draw, blueprint: dict[str, Json]) -> None:
    for name in ["data.a", "data.b"][: parts.draw(st.integers(0, 2))]:
        content: dict[str, Json] = {"properties": parts.schema(parts.property_types())}
        if parts.data_types and parts.draw(st.booleans()):
            content["derived_from"] = parts.one_of(list(parts.data_types))
        parts.data_types[name] = content
    if parts.data_types:
        blueprint["data_types"] = parts.data_types


def _node_types(parts: Draw, blueprint: dict[str, Json]) -> list[str]:
    types = list(blueprint["node_types"])
    for index in range(parts.draw(st.integers(0, 3))):
        name = f"type.{index}"
        blueprint["node_types"][name] = {
            "derived_from": parts.one_of(types),
            "properties": parts.schema(parts.property_types()),
            "interfaces": parts.interfaces(of_type=True),
        }
        types.append(name)
    return types


def _relationship_types(parts: Draw, blueprint: dict[str, Json]) -> list[str]:
    types = list(blueprint["relationships"])
    for index in range(parts.draw(st.integers(0, 2))):
        name = f"rel.{index}"
        blueprint["relationships"][name] = {
            "derived_from": parts.one_of(types),
            "properties": parts.schema([None, "string"]),
            "source_interfaces": parts.interfaces(of_type=True),
        }
        types.append(name)
    return types


def _properties_of(blueprint: dict[str, Json], kind: str) -> dict[str, Json]:
    content = blueprint["node_types"][kind]
    inherited = _properties_of(blueprint, content["derived_from"]) if "derived_from" in content else {}
    return inherited | content.get("properties", {})


def _nodes(
    parts: Draw, blueprint: dict[str, Json], node_types: list[str], relationship_types: list[str]
) -> None:
    nodes: dict[str, Json] = {}
    for index in range(parts.draw(st.integers(1, 4))):
        name = f"node{index}"
        kind = parts.one_of(node_types)
        schema = _properties_of(blueprint, kind)
        node: dict[str, Json] = {"type": kind}
        values = {
            key: parts.value(each.get("type"), name)
            for key, each in schema.items()
            if key != "use_external_resource" and ("default" not in each or parts.draw(st.booleans()))
        }
        if parts.rarely():
            values["delta"] = 1
        node["properties"] = values
        node["interfaces"] = parts.interfaces(of_type=False, node=name)
        node["relationships"] = _relationships(parts, blueprint, list(nodes), relationship_types)
        if parts.draw(st.booleans()):
            node["instances"] = {"deploy": parts.count()}
        elif parts.draw(st.booleans()):
            node["capabilities"] = {"scalable": {"properties": {"default_instances": parts.count()}}}
        nodes[name] = node
        parts.nodes[name] = list(schema)
    blueprint["node_templates"] = nodes


def _relationships(
    parts: Draw, blueprint: dict[str, Json], others: list[str], relationship_types: list[str]
) -> list[Json]:
    found = []
    for target in parts.draw(st.lists(st.sampled_from(others), unique=True, max_size=2)) if others else []:
        each: dict[str, Json] = {"type": parts.one_of(relationship_types), "target": target}
        if parts.draw(st.integers(0, 3)) == 0:
            each["properties"] = {"connection_type": parts.one_of(["all_to_all", "all_to_one"])}
        if parts.rarely():
            each["source_interfaces"] = parts.interfaces(of_type=False, node="SOURCE")
        found.append(each)
    return found


def _groups(parts: Draw, blueprint: dict[str, Json]) -> None:
    if parts.draw(st.integers(0, 2)):
        return
    nodes = list(blueprint["node_templates"])
    members = parts.draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=3, unique=True))
    blueprint["groups"] = {"group0": {"members": members}}
    targets = ["group0"]
    if parts.draw(st.booleans()):
        rest = [name for name in nodes if name not in members] or nodes
        blueprint["groups"]["group1"] = {"members": ["group0", parts.one_of(rest)]}
        targets.append("group1")
    blueprint["policies"] = {
        f"scale{index}": {
            "type": "cloudify.policies.scaling",
            "properties": {"default_instances": parts.count()},
            "targets": [target],
        }
        for index, target in enumerate(targets)
    }


def _outputs(parts: Draw, blueprint: dict[str, Json]) -> None:
    for section in ("outputs", "capabilities"):
        if parts.draw(st.booleans()):
            node = parts.one_of(list(parts.nodes))
            choices = [{"get_attribute": [node, "ip"]}, {"concat": ["a", {"get_secret": "b"}]}, "text", [1]]
            choices += [{"get_property": [node, name]} for name in parts.nodes[node]]
            blueprint[section] = {"out": {"value": parts.one_of(choices)}}


@settings(
    max_examples=int(os.environ.get("QUIESCE_REFERENCE_EXAMPLES", "60")),
    suppress_health_check=list(HealthCheck),
)
@given(blueprints())
def test_a_generated_blueprint_means_what_the_reference_parser_says(
    reference: Reference,
    tmp_path_factory: pytest.TempPathFactory,
    case: tuple[dict[str, Json], dict[str, Json]],
) -> None:
    """Both refuse it, or both give the same nodes, operations, instances and links."""
    blueprint, inputs = case
    files = {"blueprint.yaml": yaml.safe_dump(blueprint, sort_keys=False), "script.sh": ""}
    event(compare(reference, files, inputs, tmp_path_factory.mktemp("blueprint")))


def compare(
    reference: Reference, files: Mapping[str, str], inputs: Mapping[str, Json], directory: Path
) -> str:
    """Compare both answers, and return what kind of case it was."""
    theirs = reference.ask(files, inputs)
    try:
        refused = ""
        mine: dict[str, Json] | None = ours(files, inputs, directory)
    except InvalidBlueprintError as error:
        mine, refused = None, str(error)
    if "plan" in theirs:
        assert not refused, f"only we refuse it: {refused}\n{files['blueprint.yaml']}"
        assert mine == theirs["plan"]
        return "both accept it"
    if theirs["understood"]:
        assert mine is None, f"only the reference refuses it: {theirs}\n{files['blueprint.yaml']}"
        return "both refuse it"
    return "the reference fails"


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_a_written_blueprint_means_what_the_reference_parser_says(
    reference: Reference, tmp_path: Path, path: Path
) -> None:
    """One feature of the DSL each: namespaces, merged imports, scaling groups, every function."""
    files = {each.name: each.read_text() for each in path.iterdir() if each.name != "inputs.yaml"}
    inputs = path / "inputs.yaml"
    files |= {"base.yaml": yaml.safe_dump(BASE, sort_keys=False), "script.sh": ""}
    compare(reference, files, yaml.safe_load(inputs.read_text()) if inputs.exists() else {}, tmp_path)


def box(kind: str) -> str:
    content = {"derived_from": "cloudify.nodes.Root", "properties": {"kind": {"default": kind}}}
    return yaml.safe_dump({"node_types": {"acme.Box": content}})


SIDE_BY_SIDE = ("plugin.yaml", "plugin_1_4.yaml", "sub/plugin.yaml", "sub/plugin_1_4.yaml")
IMPORTS = {
    "plugin.yaml": "",
    "sub/plugin.yaml": "",
    "sub/all.yaml": "imports: [plugin.yaml]",
    "sub/more.yaml": "imports: [sub/plugin.yaml]",
}


@pytest.mark.parametrize("version", ["1_3", "1_4"])
@pytest.mark.parametrize("imported", IMPORTS)
@pytest.mark.parametrize("count", range(1, 16))
def test_the_reference_parser_reads_the_same_of_several_files(
    reference: Reference, tmp_path: Path, version: str, imported: str, count: int
) -> None:
    """An import of the main file is the reference's, run beside that file; another's, if run anywhere.

    Which of several files it reads depends on the directory that it runs in.
    """
    there = [name for index, name in enumerate(SIDE_BY_SIDE) if count & 1 << index]
    blueprint = {
        **BASE,
        "tosca_definitions_version": f"cloudify_dsl_{version}",
        "imports": [imported],
        "node_templates": {"box": {"type": "acme.Box"}},
    }
    files = {"blueprint.yaml": yaml.safe_dump(blueprint, sort_keys=False), "script.sh": ""}
    files |= {name: box(name) for name in there}
    files |= {imported: IMPORTS[imported]} if IMPORTS[imported] else {}
    theirs = [_kind(reference.ask(files, {}, inside=inside)) for inside in (True, False)]
    try:
        plan = ours(files, {}, tmp_path)
        mine = plan["nodes"][0]["properties"]["kind"]
    except InvalidBlueprintError:
        mine = None
    assert mine == theirs[0] if not IMPORTS[imported] else mine in theirs


def _kind(answer: dict[str, Json]) -> Json:
    return answer["plan"]["nodes"][0]["properties"]["kind"] if "plan" in answer else None


ASKED = {"get_input": "nosuch"}
USE = {"life": {"create": {"implementation": "tool.do", "inputs": {"x": {"get_input": "a"}}}}}
SCALING = {"type": "cloudify.policies.scaling", "targets": ["g"]}
PLACES: dict[str, Json] = {
    "input default": {"inputs": {"a": {"default": ASKED}}, "node_templates": {"n": {"interfaces": USE}}},
    "within an input default": {
        "inputs": {"a": {"default": {"k": [{"concat": ["a", ASKED]}]}}},
        "node_templates": {"n": {"interfaces": USE}},
    },
    "node type default": {"node_types": {"cloudify.nodes.Root": {"properties": {"p": {"default": ASKED}}}}},
    "data type default": {
        "data_types": {"d": {"properties": {"p": {"default": ASKED}}}},
        "node_types": {"cloudify.nodes.Root": {"properties": {"p": {"type": "d"}}}},
    },
    "operation of a relationship type": {
        "relationships": {
            "cloudify.relationships.depends_on": {
                "source_interfaces": {
                    "link": {"establish": {"implementation": "tool.do", "inputs": {"q": {"default": ASKED}}}}
                }
            }
        }
    },
    "output": {"outputs": {"o": {"value": ASKED}}},
    "capability": {"capabilities": {"o": {"value": {"concat": ["a", ASKED]}}}},
    "label": {"labels": {"o": {"values": [ASKED]}}},
    "deployment settings": {"deployment_settings": {"display_name": ASKED}},
    "fewest instances of a node": {
        "node_templates": {"n": {"capabilities": {"scalable": {"properties": {"min_instances": ASKED}}}}}
    },
    "most instances of a node": {
        "node_templates": {"n": {"capabilities": {"scalable": {"properties": {"max_instances": ASKED}}}}}
    },
    "fewest instances of a group": {
        "groups": {"g": {"members": ["n"]}},
        "policies": {"s": {**SCALING, "properties": {"min_instances": ASKED}}},
    },
    "most instances of a group": {
        "groups": {"g": {"members": ["n"]}},
        "policies": {"s": {**SCALING, "properties": {"max_instances": ASKED}}},
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_the_reference_parser_refuses_an_undeclared_input_in_the_same_places(
    reference: Reference, tmp_path: Path, place: str
) -> None:
    """Wherever it looks, we do; the same blueprint with the input declared is accepted by both."""
    nodes = {
        "n": {"type": "cloudify.nodes.Root"},
        "m": {
            "type": "cloudify.nodes.Root",
            "relationships": [{"type": "cloudify.relationships.connected_to", "target": "n"}],
        },
    }
    written = _joined(_joined(BASE, {"node_templates": nodes}), PLACES[place])
    refused = {"blueprint.yaml": yaml.safe_dump(written, sort_keys=False), "script.sh": ""}
    assert compare(reference, refused, {}, tmp_path / "undeclared") == "both refuse it"
    declared = _joined(written, {"inputs": {"nosuch": {"default": 1}}})
    accepted = {"blueprint.yaml": yaml.safe_dump(declared, sort_keys=False), "script.sh": ""}
    assert compare(reference, accepted, {}, tmp_path / "declared") == "both accept it"


def _joined(first: Json, second: Json) -> Json:
    """Return *second* laid over *first*, mappings within joined."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return second
    return first | {key: _joined(first.get(key), value) for key, value in second.items()}
