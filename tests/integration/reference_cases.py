"""Blueprints by kind, each a small change of one that is right: what a reader of the DSL can be asked.

A kind is a grammar of its own: places × forms, right ones and wrong ones. Nothing here says which is which:
the reference parser does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Json = Any


@dataclass(frozen=True, kw_only=True)
class Case:
    """One blueprint with its files and inputs; *name* is unique within its kind."""

    name: str
    blueprint: Mapping[str, Json]
    files: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    inputs: Mapping[str, Json] = field(default_factory=dict)

    def texts(self) -> dict[str, str]:
        """Return the text of each file."""
        written = {"blueprint.yaml": self.blueprint, **self.files}
        texts = {name: yaml.safe_dump(content, sort_keys=False) for name, content in written.items()}
        return {**texts, "script.sh": "#!/bin/sh\n"}


BASE: Mapping[str, Json] = {
    "tosca_definitions_version": "cloudify_dsl_1_3",
    "plugins": {
        "tool": {"executor": "central_deployment_agent", "install": False},
        "script": {"executor": "host_agent", "install": False},
    },
    "node_types": {
        "cloudify.nodes.Root": {"interfaces": {"life": {"create": {}, "stop": {}}}},
        "cloudify.nodes.Compute": {
            "derived_from": "cloudify.nodes.Root",
            "properties": {"ip": {"default": ""}},
        },
    },
    "relationships": {
        "cloudify.relationships.depends_on": {
            "properties": {"connection_type": {"default": "all_to_all"}},
            "source_interfaces": {"link": {"establish": {}}},
        },
        "cloudify.relationships.connected_to": {"derived_from": "cloudify.relationships.depends_on"},
        "cloudify.relationships.contained_in": {"derived_from": "cloudify.relationships.depends_on"},
    },
}
ROOT, COMPUTE = "cloudify.nodes.Root", "cloudify.nodes.Compute"
DEPENDS, CONNECTED, CONTAINED = (
    f"cloudify.relationships.{name}" for name in ("depends_on", "connected_to", "contained_in")
)


def laid(first: Json, second: Json) -> Json:
    """Return *second* laid over *first*, mappings within joined."""
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return second
    return {**first, **{key: laid(first.get(key), value) for key, value in second.items()}}


def on_base(*parts: Mapping[str, Json], version: str = "1_3") -> Mapping[str, Json]:
    """Return `BASE` with *parts* laid over it."""
    whole: Json = {**BASE, "tosca_definitions_version": f"cloudify_dsl_{version}"}
    for part in parts:
        whole = laid(whole, part)
    return whole  # type: ignore[no-any-return]


def library(kind: str, **more: Json) -> dict[str, Json]:
    """Return a file to import that brings one node type."""
    return {"node_types": {kind: {"properties": {"from": {"default": kind}}}}, **more}


def nodes(**templates: Json) -> dict[str, Json]:
    return {"node_templates": {name: {"type": ROOT, **(given or {})} for name, given in templates.items()}}


def linked(kind: str, target: str, **more: Json) -> dict[str, Json]:
    return {"relationships": [{"type": kind, "target": target, **more}]}


# -- what each kind brings --------------------------------------------------------------------------------


def imports() -> Iterator[Case]:
    """Where a file is found, what it may bring, and what happens when two bring the same."""
    places = {
        "beside": ("lib.yaml", "lib.yaml"),
        "below": ("sub/lib.yaml", "sub/lib.yaml"),
        "dot": ("./lib.yaml", "lib.yaml"),
        "missing": ("nosuch.yaml", "lib.yaml"),
    }
    for name, (written, there) in places.items():
        blueprint = on_base({"imports": [written]}, nodes(n={"type": "acme.Box"}))
        yield Case(name=name, blueprint=blueprint, files={there: library("acme.Box")})
    blueprint = on_base(nodes(n={"type": "acme.Box"}))
    for name, written in {
        "none": None,
        "empty": [],
        "text": "lib.yaml",
        "twice": ["lib.yaml", "lib.yaml"],
        "number": [1],
        "mapping": [{"lib.yaml": {}}],
        "nested list": [["lib.yaml"]],
    }.items():
        yield Case(
            name=f"written as {name}",
            blueprint={**blueprint, "imports": written},
            files={"lib.yaml": library("acme.Box")},
        )
    chain = {"a.yaml": {"imports": ["sub/b.yaml"]}, "sub/b.yaml": library("acme.Box")}
    yield Case(name="a chain", blueprint={**blueprint, "imports": ["a.yaml"]}, files=chain)
    beside = {"sub/a.yaml": {"imports": ["b.yaml"]}, "sub/b.yaml": library("acme.Box")}
    yield Case(name="beside the importing", blueprint={**blueprint, "imports": ["sub/a.yaml"]}, files=beside)
    yield Case(
        name="a diamond",
        blueprint={**blueprint, "imports": ["a.yaml", "b.yaml"]},
        files={
            "a.yaml": {"imports": ["c.yaml"]},
            "b.yaml": {"imports": ["c.yaml"]},
            "c.yaml": library("acme.Box"),
        },
    )
    for section, content in SECTIONS.items():
        brought = {**library("acme.Box"), **content}
        yield Case(
            name=f"brings {section}",
            blueprint={**blueprint, "imports": ["lib.yaml"]},
            files={"lib.yaml": brought},
        )
        yield Case(
            name=f"both bring {section}",
            blueprint=laid({**blueprint, "imports": ["lib.yaml"]}, content),
            files={"lib.yaml": brought},
        )
        yield Case(
            name=f"two libraries bring {section}",
            blueprint={**blueprint, "imports": ["lib.yaml", "more.yaml"]},
            files={"lib.yaml": brought, "more.yaml": dict(content)},
        )
    for main, other in itertools.product(("1_3", "1_4", "1_5"), repeat=2):
        yield Case(
            name=f"version {other} into {main}",
            blueprint=on_base({"imports": ["lib.yaml"]}, nodes(n={"type": "acme.Box"}), version=main),
            files={"lib.yaml": library("acme.Box", tosca_definitions_version=f"cloudify_dsl_{other}")},
        )


SECTIONS: Mapping[str, Mapping[str, Json]] = {
    "inputs": {"inputs": {"size": {"default": 1}}},
    "node_types": {"node_types": {"acme.Other": {}}},
    "node_templates": {"node_templates": {"other": {"type": ROOT}}},
    "relationships": {"relationships": {"acme.link": {"derived_from": DEPENDS}}},
    "plugins": {"plugins": {"more": {"executor": "central_deployment_agent", "install": False}}},
    "workflows": {"workflows": {"go": "tool.flows.go"}},
    "outputs": {"outputs": {"o": {"value": 1}}},
    "capabilities": {"capabilities": {"c": {"value": 1}}},
    "data_types": {"data_types": {"acme.Data": {"properties": {"a": {"default": 1}}}}},
    "groups": {"groups": {"g": {"members": ["n"]}}},
    "policies": {
        "groups": {"s": {"members": ["n"]}},
        "policies": {"p": {"type": "cloudify.policies.scaling", "targets": ["s"]}},
    },
    "dsl_definitions": {"dsl_definitions": {"d": 1}},
    "description": {"description": "what it is"},
    "labels": {"labels": {"team": {"values": ["a"]}}},
    "blueprint_labels": {"blueprint_labels": {"team": {"values": ["a"]}}},
    "policy_types": {"policy_types": {"watch": {"source": "script.sh", "properties": {}}}},
    "policy_triggers": {"policy_triggers": {"t": {"source": "script.sh"}}},
    "upload_resources": {"upload_resources": {"plugin_resources": []}},
    "metadata": {"metadata": {"a": 1}},
    "unknown": {"unknown_section": {"a": 1}},
}


def namespaces() -> Iterator[Case]:
    """What a prefix is put before, and how deep."""
    for section, content in SECTIONS.items():
        lib = {**library("acme.Box"), **content}
        lib["node_templates"] = {**lib.get("node_templates", {}), "n": {"type": "acme.Box"}}
        lib["plugins"] = {
            "tool": {"executor": "central_deployment_agent", "install": False},
            **lib.get("plugins", {}),
        }
        yield Case(
            name=f"brings {section}",
            blueprint={**on_base(nodes(m={})), "imports": ["ns--lib.yaml"]},
            files={"lib.yaml": lib},
        )
    uses = {
        "its type": nodes(m={"type": "ns--acme.Box"}),
        "its type without prefix": nodes(m={"type": "acme.Box"}),
        "a wrong prefix": nodes(m={"type": "other--acme.Box"}),
        "its node as target": nodes(m=linked(DEPENDS, "ns--n")),
        "its node without prefix": nodes(m=linked(DEPENDS, "n")),
        "its property": nodes(
            m={
                "interfaces": {
                    "life": {
                        "create": {
                            "implementation": "tool.do",
                            "inputs": {"x": {"get_property": ["ns--n", "from"]}},
                        }
                    }
                }
            }
        ),
        "its attribute": {"outputs": {"o": {"value": {"get_attribute": ["ns--n", "from"]}}}},
        "its member": {"groups": {"g": {"members": ["ns--n"]}}},
        "an operation of its plugin": nodes(m={"interfaces": {"life": {"create": "ns--special.do"}}}),
        "its input": {"outputs": {"o": {"value": {"get_input": "ns--size"}}}},
        "its input without prefix": {"outputs": {"o": {"value": {"get_input": "size"}}}},
    }
    lib = {
        "inputs": {"size": {"default": 1}},
        "plugins": {"special": {"executor": "central_deployment_agent", "install": False}},
        "node_types": {"acme.Box": {"properties": {"from": {"default": {"get_input": "size"}}}}},
        "node_templates": {"n": {"type": "acme.Box"}},
    }
    for name, use in uses.items():
        blueprint = {**on_base(nodes(k={}), use), "imports": ["ns--lib.yaml"]}
        yield Case(name=f"uses {name}", blueprint=blueprint, files={"lib.yaml": lib})
    for first, second in itertools.product(("ns--", "two--", ""), repeat=2):
        yield Case(
            name=f"twice as {first!r} and {second!r}",
            blueprint={**on_base(nodes(k={})), "imports": [f"{first}lib.yaml", f"{second}lib.yaml"]},
            files={
                "lib.yaml": {"node_types": {"acme.Box": {}}, "node_templates": {"n": {"type": "acme.Box"}}}
            },
        )
    for name, types in {"basic": {ROOT: {}}, "almost basic": {COMPUTE: {}}}.items():
        yield Case(
            name=f"of {name} types",
            blueprint={**on_base(nodes(k={})), "imports": ["ns--lib.yaml"]},
            files={"lib.yaml": {"node_types": types}},
        )
    for written in ("ns--", "--lib.yaml", "a--b--lib.yaml", "a b--lib.yaml", "ns-lib.yaml"):
        yield Case(
            name=f"written {written!r}",
            blueprint={**on_base(nodes(k={})), "imports": [written]},
            files={"lib.yaml": library("acme.Box")},
        )
    deep = {"lib.yaml": {"imports": ["in--deep.yaml"]}, "deep.yaml": library("acme.Deep")}
    for kind in ("ns--in--acme.Deep", "in--acme.Deep", "acme.Deep"):
        yield Case(
            name=f"nested, {kind}",
            blueprint={**on_base(nodes(k={"type": kind})), "imports": ["ns--lib.yaml"]},
            files=deep,
        )


def inheritance() -> Iterator[Case]:
    """What a derived type takes over, changes and may not change."""
    for depth, section in itertools.product((1, 2, 4), ("node_types", "relationships", "data_types")):
        types: dict[str, Json] = {"t0": {"properties": {"p0": {"default": 0}}}}
        for number in range(1, depth + 1):
            types[f"t{number}"] = {
                "derived_from": f"t{number - 1}",
                "properties": {f"p{number}": {"default": number}, "p0": {"default": number}},
            }
        last = f"t{depth}"
        use = {
            "node_types": nodes(n={"type": last}),
            "relationships": nodes(n={}, m={"relationships": [{"type": last, "target": "n"}]}),
            "data_types": {
                "node_types": {"u": {"properties": {"d": {"type": last}}}},
                **nodes(n={"type": "u"}),
            },
        }[section]
        yield Case(name=f"{section} {depth} deep", blueprint=on_base({section: types}, use))
    for section in ("node_types", "relationships", "data_types"):
        for name, types in {
            "of nothing known": {"t": {"derived_from": "nosuch"}},
            "of itself": {"t": {"derived_from": "t"}},
            "in a circle": {"t": {"derived_from": "u"}, "u": {"derived_from": "t"}},
            "of a number": {"t": {"derived_from": 1}},
            "of null": {"t": {"derived_from": None}},
            "null": {"t": None},
            "text": {"t": "u"},
        }.items():
            use = {
                "node_types": nodes(n={"type": "t"}),
                "relationships": nodes(n={}, m={"relationships": [{"type": "t", "target": "n"}]}),
                "data_types": {
                    "node_types": {"v": {"properties": {"d": {"type": "t"}}}},
                    **nodes(n={"type": "v"}),
                },
            }[section]
            yield Case(name=f"{section} {name}", blueprint=on_base({section: types}, use))
    forms: Mapping[str, Json] = {
        "string": {"type": "string"},
        "text default": {"default": "a"},
        "number default": {"default": 1},
        "mapping default": {"default": {"a": 1, "b": {"c": 2}}},
        "required": {"required": True},
        "not required": {"required": False},
        "empty": {},
        "null": None,
    }
    for (first, base), (second, derived) in itertools.product(forms.items(), repeat=2):
        types = {
            "t": {"properties": {"p": base}},
            "u": {"derived_from": "t", "properties": {"p": derived}},
        }
        yield Case(
            name=f"{second} over {first}",
            blueprint=on_base(
                {"node_types": types}, nodes(n={"type": "u", "properties": {"p": {"b": {"d": 3}}}})
            ),
        )


FUNCTIONS: Mapping[str, Json] = {
    "get_input": {"get_input": "size"},
    "get_input deep": {"get_input": ["tree", "a", 0]},
    "get_input deep missing": {"get_input": ["tree", "z"]},
    "get_input beyond": {"get_input": ["tree", "a", 9]},
    "get_input undeclared": {"get_input": "nosuch"},
    "get_input of a list": {"get_input": ["size"]},
    "get_input empty": {"get_input": []},
    "get_input number": {"get_input": 1},
    "get_input null": {"get_input": None},
    "get_property": {"get_property": ["m", "ip"]},
    "get_property self": {"get_property": ["SELF", "ip"]},
    "get_property deep": {"get_property": ["m", "tree", "a"]},
    "get_property missing": {"get_property": ["m", "nosuch"]},
    "get_property of nobody": {"get_property": ["nosuch", "ip"]},
    "get_property short": {"get_property": ["m"]},
    "get_property text": {"get_property": "m"},
    "get_property computed": {"get_property": ["m", {"get_input": "name"}]},
    "get_attribute": {"get_attribute": ["m", "a"]},
    "get_attribute self": {"get_attribute": ["SELF", "a"]},
    "get_attribute of nobody": {"get_attribute": ["nosuch", "a"]},
    "get_attribute short": {"get_attribute": ["m"]},
    "get_attribute text": {"get_attribute": "m"},
    "get_attribute index": {"get_attribute": ["m", "node_instances", 0]},
    "get_attributes_list": {"get_attributes_list": ["m", "a"]},
    "get_attributes_list short": {"get_attributes_list": ["m"]},
    "get_attributes_dict": {"get_attributes_dict": ["m", "a", "b"]},
    "get_attributes_dict short": {"get_attributes_dict": ["m"]},
    "get_secret": {"get_secret": "s"},
    "get_secret list": {"get_secret": ["s", "k"]},
    "get_secret number": {"get_secret": 1},
    "get_capability": {"get_capability": ["d", "c"]},
    "get_capability short": {"get_capability": ["d"]},
    "get_capability text": {"get_capability": "d"},
    "get_environment_capability": {"get_environment_capability": "c"},
    "get_group_capability": {"get_group_capability": ["g", "c"]},
    "get_group_capability short": {"get_group_capability": ["g"]},
    "get_label": {"get_label": "team"},
    "get_label index": {"get_label": ["team", 0]},
    "get_label wrong index": {"get_label": ["team", "x"]},
    "get_label long": {"get_label": ["team", 0, 1]},
    "get_sys": {"get_sys": ["deployment", "id"]},
    "get_sys wrong": {"get_sys": ["deployment", "nosuch"]},
    "get_sys entity": {"get_sys": ["nosuch", "id"]},
    "get_sys text": {"get_sys": "deployment"},
    "concat": {"concat": ["a", 1, True]},
    "concat one": {"concat": ["a"]},
    "concat text": {"concat": "a"},
    "concat nested": {"concat": ["a", {"concat": ["b", {"get_input": "size"}]}]},
    "concat runtime": {"concat": ["a", {"get_attribute": ["m", "a"]}]},
    "concat mapping": {"concat": [{"a": 1}, "b"]},
    "concat null": {"concat": [None, "b"]},
    "merge": {"merge": [{"a": 1}, {"b": 2}]},
    "merge text": {"merge": "a"},
    "merge of texts": {"merge": ["a", "b"]},
    "merge one": {"merge": [{"a": 1}]},
    "merge input": {"merge": [{"get_input": "tree"}, {"a": 2}]},
    "string_find": {"string_find": ["abc", "b"]},
    "string_find none": {"string_find": ["abc", "z"]},
    "string_find short": {"string_find": ["abc"]},
    "string_find number": {"string_find": ["abc", 1]},
    "string_replace": {"string_replace": ["aaa", "a", "b"]},
    "string_replace count": {"string_replace": ["aaa", "a", "b", 2]},
    "string_replace bad count": {"string_replace": ["aaa", "a", "b", "x"]},
    "string_replace short": {"string_replace": ["aaa", "a"]},
    "string_split": {"string_split": ["a-b", "-"]},
    "string_split index": {"string_split": ["a-b", "-", 1]},
    "string_split negative": {"string_split": ["a-b", "-", -1]},
    "string_split beyond": {"string_split": ["a-b", "-", 7]},
    "string_split empty": {"string_split": ["a-b", ""]},
    "string_lower": {"string_lower": "ABC"},
    "string_lower number": {"string_lower": 1},
    "string_lower list": {"string_lower": ["ABC"]},
    "string_upper input": {"string_upper": {"get_input": "name"}},
    "no function": {"get_nothing": "a"},
    "two keys": {"get_input": "size", "other": 1},
}


def functions() -> Iterator[Case]:
    """Every function, right and wrong, wherever one may stand."""
    declared = {
        "inputs": {
            "size": {"default": 3},
            "name": {"default": "ip"},
            "tree": {"default": {"a": [1, 2]}},
        },
        "node_types": {
            "any": {
                "derived_from": ROOT,
                "properties": {
                    "p": {"default": ""},
                    "ip": {"default": "10.0.0.1"},
                    "tree": {"default": {"a": 1}},
                },
            }
        },
        **nodes(m={"type": "any"}),
    }
    places: Mapping[str, Callable[[Json], Mapping[str, Json]]] = {
        "property": lambda value: nodes(n={"type": "any", "properties": {"p": value}}),
        "within a property": lambda value: nodes(n={"type": "any", "properties": {"p": {"a": [value]}}}),
        "operation input": lambda value: nodes(
            n={
                "type": "any",
                "interfaces": {"life": {"create": {"implementation": "tool.do", "inputs": {"x": value}}}},
            }
        ),
        "output": lambda value: {"outputs": {"o": {"value": value}}},
        "capability": lambda value: {"capabilities": {"o": {"value": value}}},
        "relationship input": lambda value: nodes(
            n={
                "type": "any",
                **linked(
                    DEPENDS,
                    "m",
                    source_interfaces={
                        "link": {"establish": {"implementation": "tool.do", "inputs": {"x": value}}}
                    },
                ),
            }
        ),
        "input default": lambda value: {"inputs": {"late": {"default": value}}},
    }
    for (place, put), (function, value) in itertools.product(places.items(), FUNCTIONS.items()):
        yield Case(name=f"{function} in {place}", blueprint=on_base(declared, put(value)))


def scaling_groups() -> Iterator[Case]:
    """Groups, groups of groups, and how many copies of them there are."""
    three = nodes(a={}, b={}, c={})
    shapes: Mapping[str, Json] = {
        "one": {"g": ["a"]},
        "two members": {"g": ["a", "b"]},
        "apart": {"g": ["a"], "h": ["b"]},
        "overlapping": {"g": ["a", "b"], "h": ["b", "c"]},
        "nested": {"g": ["a"], "h": ["g", "b"]},
        "three deep": {"g": ["a"], "h": ["g"], "i": ["h"]},
        "a circle": {"g": ["h"], "h": ["g"]},
        "itself": {"g": ["g"]},
        "unknown member": {"g": ["nosuch"]},
        "empty": {"g": []},
        "twice": {"g": ["a", "a"]},
        "named as a node": {"a": ["b"], "g": ["a"]},
    }
    counts: Mapping[str, Json] = {
        "nothing": {},
        "two": {"default_instances": 2},
        "zero": {"default_instances": 0},
        "negative": {"default_instances": -1},
        "below least": {"default_instances": 1, "min_instances": 2},
        "above most": {"default_instances": 3, "max_instances": 2},
        "unbounded": {"default_instances": 2, "max_instances": "UNBOUNDED"},
        "minus one": {"default_instances": 2, "max_instances": -1},
        "text": {"default_instances": "2"},
        "words": {"default_instances": "two"},
        "input": {"default_instances": {"get_input": "size"}},
        "unknown key": {"nosuch": 1},
    }
    for (shape, groups), (count, properties) in itertools.product(shapes.items(), counts.items()):
        if shape not in {"one", "nested"} and count not in {"nothing", "two"}:
            continue
        yield Case(
            name=f"{shape}, {count}",
            blueprint=on_base(
                three,
                {
                    "inputs": {"size": {"default": 2}},
                    "groups": {name: {"members": members} for name, members in groups.items()},
                    "policies": {
                        "p": {
                            "type": "cloudify.policies.scaling",
                            "properties": properties,
                            "targets": list(groups),
                        }
                    },
                },
            ),
        )
    for kind, members in itertools.product((DEPENDS, CONNECTED, CONTAINED), (["a"], ["b"], ["a", "b"])):
        for connection in ("all_to_all", "all_to_one"):
            link = linked(kind, "a", properties={"connection_type": connection})
            yield Case(
                name=f"{kind.rpartition('.')[2]}, {connection}, of {'+'.join(members)}",
                blueprint=on_base(
                    nodes(a={"instances": {"deploy": 2}}, b=link),
                    {
                        "groups": {"g": {"members": members}},
                        "policies": {
                            "p": {
                                "type": "cloudify.policies.scaling",
                                "properties": {"default_instances": 2},
                                "targets": ["g"],
                            }
                        },
                    },
                ),
            )


def policies() -> Iterator[Case]:
    """Policies of groups, their types and triggers."""
    types = {
        "policy_types": {
            "watch": {"source": "script.sh", "properties": {"level": {"default": 1}, "must": {}}}
        },
        "policy_triggers": {"call": {"source": "script.sh", "parameters": {"to": {"default": "x"}}}},
        **nodes(n={}),
    }
    written: Mapping[str, Json] = {
        "right": {"type": "watch", "properties": {"must": 1}},
        "incomplete": {"type": "watch", "properties": {}},
        "no properties": {"type": "watch"},
        "unknown property": {"type": "watch", "properties": {"must": 1, "nosuch": 1}},
        "unknown type": {"type": "nosuch", "properties": {}},
        "no type": {"properties": {}},
        "a trigger": {"type": "watch", "properties": {"must": 1}, "triggers": {"t": {"type": "call"}}},
        "a trigger's parameter": {
            "type": "watch",
            "properties": {"must": 1},
            "triggers": {"t": {"type": "call", "parameters": {"to": "y"}}},
        },
        "a trigger's unknown parameter": {
            "type": "watch",
            "properties": {"must": 1},
            "triggers": {"t": {"type": "call", "parameters": {"nosuch": "y"}}},
        },
        "unknown trigger": {
            "type": "watch",
            "properties": {"must": 1},
            "triggers": {"t": {"type": "nosuch"}},
        },
        "text": "watch",
        "null": None,
    }
    for name, policy in written.items():
        yield Case(
            name=f"of a group, {name}",
            blueprint=on_base(types, {"groups": {"g": {"members": ["n"], "policies": {"p": policy}}}}),
        )
    alone: Mapping[str, Json] = {
        "right": {"type": "cloudify.policies.scaling", "targets": ["g"]},
        "no targets": {"type": "cloudify.policies.scaling"},
        "empty targets": {"type": "cloudify.policies.scaling", "targets": []},
        "unknown target": {"type": "cloudify.policies.scaling", "targets": ["nosuch"]},
        "a node as target": {"type": "cloudify.policies.scaling", "targets": ["n"]},
        "target twice": {"type": "cloudify.policies.scaling", "targets": ["g", "g"]},
        "another type": {"type": "watch", "targets": ["g"]},
        "unknown type": {"type": "nosuch", "targets": ["g"]},
        "no type": {"targets": ["g"]},
        "text targets": {"type": "cloudify.policies.scaling", "targets": "g"},
        "unknown key": {"type": "cloudify.policies.scaling", "targets": ["g"], "nosuch": 1},
    }
    for name, policy in alone.items():
        yield Case(
            name=f"alone, {name}",
            blueprint=on_base(types, {"groups": {"g": {"members": ["n"]}}, "policies": {"p": policy}}),
        )
    right = {"type": "cloudify.policies.scaling", "targets": ["g"]}
    yield Case(
        name="two of one group",
        blueprint=on_base(types, {"groups": {"g": {"members": ["n"]}}, "policies": {"p": right, "q": right}}),
    )


def capabilities() -> Iterator[Case]:
    """Outputs, capabilities, labels, settings: what may stand there."""
    values: Mapping[str, Json] = {
        "text": "a",
        "number": 1,
        "list": [1, {"a": 2}],
        "mapping": {"a": {"b": 1}},
        "null": None,
        "property": {"get_property": ["n", "p"]},
        "attribute": {"get_attribute": ["n", "p"]},
        "input": {"get_input": "size"},
    }
    declared = {
        "inputs": {"size": {"default": 1}},
        "node_types": {"any": {"properties": {"p": {"default": 1}}}},
        **nodes(n={"type": "any"}),
    }
    for section, (name, value) in itertools.product(("outputs", "capabilities"), values.items()):
        yield Case(
            name=f"{section}, {name}",
            blueprint=on_base(declared, {section: {"o": {"value": value, "description": "d"}}}),
        )
    written: Mapping[str, Json] = {
        "no value": {},
        "null": None,
        "text": "a",
        "list": [1],
        "unknown key": {"value": 1, "nosuch": 1},
        "wrong description": {"value": 1, "description": [1]},
        "type": {"value": 1, "type": "integer"},
        "wrong type": {"value": "a", "type": "integer"},
    }
    for section, (name, whole) in itertools.product(("outputs", "capabilities"), written.items()):
        yield Case(name=f"{section} written as {name}", blueprint=on_base(declared, {section: {"o": whole}}))
        yield Case(name=f"{section} as a whole {name}", blueprint=on_base(declared, {section: whole}))
    labels: Mapping[str, Json] = {
        "right": {"team": {"values": ["a", "b"]}},
        "empty": {"team": {"values": []}},
        "no values": {"team": {}},
        "text": {"team": {"values": "a"}},
        "number": {"team": {"values": [1]}},
        "input": {"team": {"values": [{"get_input": "size"}]}},
        "capital": {"Team": {"values": ["a"]}},
        "null": {"team": None},
        "list": ["team"],
    }
    for section, (name, whole) in itertools.product(("labels", "blueprint_labels"), labels.items()):
        yield Case(name=f"{section}, {name}", blueprint=on_base(declared, {section: whole}, version="1_4"))
    for name, whole in {
        "name": {"display_name": "shop"},
        "input": {"display_name": {"get_input": "size"}},
        "null": None,
        "unknown": {"nosuch": 1},
        "group": {"default_group_id": "g"},
    }.items():
        yield Case(
            name=f"settings, {name}",
            blueprint=on_base(declared, {"deployment_settings": whole}, version="1_4"),
        )


def constraints() -> Iterator[Case]:
    """Types and constraints of inputs against values given and defaults."""
    wanted: Mapping[str, tuple[Json, ...]] = {
        "equal": (1, "a"),
        "greater_than": (1, "a"),
        "greater_or_equal": (1,),
        "less_than": (5, "a"),
        "less_or_equal": (5,),
        "in_range": ([1, 5], [5, 1], [1], "a"),
        "valid_values": ([1, 2, "a"], [], "a"),
        "length": (1, "a", -1),
        "min_length": (1,),
        "max_length": (1,),
        "pattern": ("^a+$", "(", 1),
        "nosuch": (1,),
    }
    values: tuple[Json, ...] = (1, 7, "a", "bb", [1], {"a": 1}, True)
    for constraint, arguments in wanted.items():
        for argument, value in itertools.product(arguments, values):
            declared = {"inputs": {"i": {"constraints": [{constraint: argument}]}}}
            yield Case(
                name=f"{constraint}: {argument!r}, given {value!r}",
                blueprint=on_base(declared, nodes(n={})),
                inputs={"i": value},
            )
    kinds = ("string", "integer", "float", "boolean", "list", "dict", "regex", "textarea", "nosuch")
    given: tuple[Json, ...] = ("a", "1", "1.5", "true", 1, 1.5, True, [1], {"a": 1}, "[")
    for kind, value in itertools.product(kinds, given):
        yield Case(
            name=f"{kind}, given {value!r}",
            blueprint=on_base({"inputs": {"i": {"type": kind}}}, nodes(n={})),
            inputs={"i": value},
        )
        yield Case(
            name=f"{kind}, default {value!r}",
            blueprint=on_base({"inputs": {"i": {"type": kind, "default": value}}}, nodes(n={})),
        )
    forms: Mapping[str, Json] = {
        "empty": {},
        "null": None,
        "text": "string",
        "list": [],
        "hidden": {"hidden": True, "default": 1},
        "wrong hidden": {"hidden": "maybe", "default": 1},
        "label": {"display_label": "Size", "default": 1},
        "required without default": {"required": True},
        "not required": {"required": False},
        "unknown key": {"nosuch": 1},
        "constraints as mapping": {"constraints": {"equal": 1}},
        "empty constraints": {"constraints": []},
        "two in one": {"constraints": [{"equal": 1, "less_than": 2}]},
        "item_type": {"type": "list", "item_type": "integer", "default": [1]},
        "wrong item": {"type": "list", "item_type": "integer", "default": ["a"]},
        "item_type of no list": {"type": "string", "item_type": "integer", "default": "a"},
        "constraints of items": {
            "type": "list",
            "item_type": "integer",
            "default": [1],
            "constraints": [{"greater_than": 3}],
        },
        "wrong default": {"default": 1, "constraints": [{"greater_than": 3}]},
    }
    for name, form in forms.items():
        yield Case(name=f"written as {name}", blueprint=on_base({"inputs": {"i": form}}, nodes(n={})))
        yield Case(
            name=f"written as {name}, given 1",
            blueprint=on_base({"inputs": {"i": form}}, nodes(n={})),
            inputs={"i": 1},
        )
    yield Case(name="undeclared, given", blueprint=on_base(nodes(n={})), inputs={"i": 1})


def data_types() -> Iterator[Case]:
    """Types made of others, and what is laid over their defaults."""
    types = {
        "address": {
            "properties": {"street": {"default": "s"}, "zip": {"type": "integer", "required": False}}
        },
        "person": {"properties": {"name": {"type": "string"}, "home": {"type": "address"}}},
        "boss": {"derived_from": "person", "properties": {"staff": {"type": "list", "default": []}}},
    }
    values: Mapping[str, Json] = {
        "nothing": {},
        "a name": {"name": "x"},
        "deep": {"name": "x", "home": {"street": "t"}},
        "zip as text": {"name": "x", "home": {"zip": "12"}},
        "zip as words": {"name": "x", "home": {"zip": "twelve"}},
        "unknown": {"name": "x", "nosuch": 1},
        "unknown deep": {"name": "x", "home": {"nosuch": 1}},
        "number as name": {"name": 1},
        "text as home": {"name": "x", "home": "t"},
        "null as home": {"name": "x", "home": None},
        "staff": {"name": "x", "staff": [{"name": "y"}]},
        "wrong staff": {"name": "x", "staff": [{"nosuch": 1}]},
        "text": "x",
        "list": [1],
        "function": {"name": {"concat": ["a", "b"]}},
        "secret": {"get_secret": "s"},
        "a street": {"street": "t"},
        "zip": {"zip": 12},
        "null zip": {"zip": None},
        "a computed street": {"street": {"concat": ["a", "b"]}},
    }
    for kind, (name, value) in itertools.product(("address", "person", "boss"), values.items()):
        holder = {"node_types": {"u": {"properties": {"d": {"type": kind}}}}}
        yield Case(
            name=f"{kind} is {name}",
            blueprint=on_base(
                {"data_types": types}, holder, nodes(n={"type": "u", "properties": {"d": value}})
            ),
        )
        default = {"node_types": {"u": {"properties": {"d": {"type": kind, "default": value}}}}}
        yield Case(
            name=f"{kind}, default is {name}",
            blueprint=on_base({"data_types": types}, default, nodes(n={"type": "u"})),
        )
        yield Case(
            name=f"{kind}, input is {name}",
            blueprint=on_base({"data_types": types, "inputs": {"d": {"type": kind}}}, nodes(n={})),
            inputs={"d": value},
        )
    wrong: Mapping[str, Json] = {
        "unknown type": {"a": {"properties": {"p": {"type": "nosuch"}}}},
        "a circle": {"a": {"properties": {"p": {"type": "b"}}}, "b": {"properties": {"p": {"type": "a"}}}},
        "itself": {"a": {"properties": {"p": {"type": "a"}}}},
        "a known name": {"string": {"properties": {}}},
        "no properties": {"a": {}},
        "version": {"a": {"version": "1", "properties": {}}},
        "unknown key": {"a": {"nosuch": 1, "properties": {}}},
    }
    for name, declared in wrong.items():
        holder = {"node_types": {"u": {"properties": {"d": {"type": "a", "required": False}}}}}
        yield Case(
            name=f"declared with {name}",
            blueprint=on_base({"data_types": declared}, holder, nodes(n={"type": "u"})),
        )


def relationships() -> Iterator[Case]:
    """Whom a node may be related to, how, and how many instances of both are."""
    for kind, count, other in itertools.product((DEPENDS, CONNECTED, CONTAINED), (0, 1, 3), (0, 1, 2)):
        for connection in ("all_to_all", "all_to_one"):
            if kind == CONTAINED and connection == "all_to_one":
                continue
            link = linked(kind, "a", properties={"connection_type": connection})
            yield Case(
                name=f"{kind.rpartition('.')[2]}, {connection}, {count} to {other}",
                blueprint=on_base(
                    nodes(a={"instances": {"deploy": other}}, b={"instances": {"deploy": count}, **link})
                ),
            )
    forms: Mapping[str, Json] = {
        "unknown target": {"type": DEPENDS, "target": "nosuch"},
        "itself": {"type": DEPENDS, "target": "b"},
        "unknown type": {"type": "nosuch", "target": "a"},
        "no type": {"target": "a"},
        "no target": {"type": DEPENDS},
        "unknown key": {"type": DEPENDS, "target": "a", "nosuch": 1},
        "unknown property": {"type": DEPENDS, "target": "a", "properties": {"nosuch": 1}},
        "wrong connection": {
            "type": DEPENDS,
            "target": "a",
            "properties": {"connection_type": "some_to_some"},
        },
        "connection by input": {
            "type": DEPENDS,
            "target": "a",
            "properties": {"connection_type": {"get_input": "how"}},
        },
        "text": "a",
        "null": None,
        "contained in itself": {"type": CONTAINED, "target": "b"},
        "source interface": {
            "type": DEPENDS,
            "target": "a",
            "source_interfaces": {"link": {"establish": "tool.do"}},
        },
        "target interface": {
            "type": DEPENDS,
            "target": "a",
            "target_interfaces": {"link": {"establish": "tool.do"}},
        },
        "wrong interface": {
            "type": DEPENDS,
            "target": "a",
            "source_interfaces": {"link": {"establish": "nosuch.do"}},
        },
        "interfaces": {"type": DEPENDS, "target": "a", "interfaces": {"link": {"establish": "tool.do"}}},
    }
    declared = {"inputs": {"how": {"default": "all_to_one"}}, **nodes(a={})}
    for name, form in forms.items():
        yield Case(name=name, blueprint=on_base(declared, nodes(b={"relationships": [form]})))
    for name, whole in {"mapping": {"a": DEPENDS}, "null": None, "empty": [], "text": "a"}.items():
        yield Case(name=f"as a {name}", blueprint=on_base(declared, nodes(b={"relationships": whole})))
    pairs = {
        "twice": [(DEPENDS, "a"), (DEPENDS, "a")],
        "both kinds": [(DEPENDS, "a"), (CONTAINED, "a")],
        "contained twice": [(CONTAINED, "a"), (CONTAINED, "c")],
        "two targets": [(DEPENDS, "a"), (DEPENDS, "c")],
    }
    for name, links in pairs.items():
        many = [{"type": kind, "target": target} for kind, target in links]
        yield Case(name=name, blueprint=on_base(nodes(a={}, c={}, b={"relationships": many})))
    circle = nodes(a=linked(DEPENDS, "b"), b=linked(DEPENDS, "a"))
    yield Case(name="in a circle", blueprint=on_base(circle))
    contained = nodes(a=linked(CONTAINED, "b"), b=linked(CONTAINED, "a"))
    yield Case(name="contained in a circle", blueprint=on_base(contained))
    chain = nodes(
        a={"instances": {"deploy": 2}},
        b={**linked(CONTAINED, "a"), "instances": {"deploy": 2}},
        c={**linked(CONTAINED, "b"), "instances": {"deploy": 2}},
    )
    yield Case(name="contained three deep", blueprint=on_base(chain))


OPERATIONS: Mapping[str, Json] = {
    "text": "tool.do",
    "empty text": "",
    "null": None,
    "empty mapping": {},
    "implementation": {"implementation": "tool.do"},
    "empty implementation": {"implementation": ""},
    "inputs": {"implementation": "tool.do", "inputs": {"x": 1}},
    "inputs alone": {"inputs": {"x": 1}},
    "schema": {"implementation": "tool.do", "inputs": {"x": {"default": 1}}},
    "required schema": {"implementation": "tool.do", "inputs": {"x": {"type": "integer"}}},
    "null inputs": {"implementation": "tool.do", "inputs": None},
    "list inputs": {"implementation": "tool.do", "inputs": [1]},
    "script": "script.sh",
    "script by mapping": {"implementation": "script.sh"},
    "missing script": "nosuch.sh",
    "unknown plugin": "nosuch.do",
    "no plugin": "do",
    "executor": {"implementation": "tool.do", "executor": "host_agent"},
    "wrong executor": {"implementation": "tool.do", "executor": "nobody"},
    "max_retries": {"implementation": "tool.do", "max_retries": 1},
    "negative retries": {"implementation": "tool.do", "max_retries": -2},
    "text retries": {"implementation": "tool.do", "max_retries": "1"},
    "retry_interval": {"implementation": "tool.do", "retry_interval": 1.5},
    "negative interval": {"implementation": "tool.do", "retry_interval": -1},
    "timeout": {"implementation": "tool.do", "timeout": 1},
    "timeout_recoverable": {"implementation": "tool.do", "timeout_recoverable": True},
    "unknown key": {"implementation": "tool.do", "nosuch": 1},
    "number": 1,
    "list": ["tool.do"],
}


def interfaces() -> Iterator[Case]:
    """Every form of an operation: in a type, in a node, one over the other, and of relationships."""
    for name, form in OPERATIONS.items():
        of_node = nodes(n={"interfaces": {"life": {"create": form}}})
        yield Case(name=f"{name} in a node", blueprint=on_base(of_node))
        new = nodes(n={"interfaces": {"own": {"go": form}}})
        yield Case(name=f"{name} in an interface of its own", blueprint=on_base(new))
        of_type = {"node_types": {"t": {"derived_from": ROOT, "interfaces": {"life": {"create": form}}}}}
        yield Case(name=f"{name} in a type", blueprint=on_base(of_type, nodes(n={"type": "t"})))
        of_link = nodes(a={}, n=linked(DEPENDS, "a", source_interfaces={"link": {"establish": form}}))
        yield Case(name=f"{name} in a relationship", blueprint=on_base(of_link))
    over = {
        name: OPERATIONS[name]
        for name in (
            "text",
            "empty text",
            "null",
            "empty mapping",
            "implementation",
            "inputs",
            "inputs alone",
            "script",
            "executor",
            "max_retries",
        )
    }
    below = {**over, "schema": OPERATIONS["schema"], "required schema": OPERATIONS["required schema"]}
    below["inputs"] = OPERATIONS["schema"]
    below["inputs alone"] = {"inputs": {"y": {"default": 2}}}
    for (first, base), (second, form) in itertools.product(below.items(), over.items()):
        of_type = {"node_types": {"t": {"derived_from": ROOT, "interfaces": {"life": {"create": base}}}}}
        yield Case(
            name=f"{second} over {first}",
            blueprint=on_base(of_type, nodes(n={"type": "t", "interfaces": {"life": {"create": form}}})),
        )
        derived = {"u": {"derived_from": "t", "interfaces": {"life": {"create": _schema_of(form)}}}}
        yield Case(
            name=f"{second} over {first} in a derived type",
            blueprint=on_base(of_type, {"node_types": derived}, nodes(n={"type": "u"})),
        )
    for name, whole in {"null": None, "text": "a", "list": [], "null interface": {"life": None}}.items():
        yield Case(name=f"all {name}", blueprint=on_base(nodes(n={"interfaces": whole})))


def _schema_of(form: Json) -> Json:
    """Return *form* as a type writes it: its inputs with defaults."""
    if not isinstance(form, dict) or not isinstance(form.get("inputs"), dict):
        return form
    return {**form, "inputs": {name: {"default": value} for name, value in form["inputs"].items()}}


def errors() -> Iterator[Case]:
    """Things of the wrong form at every level."""
    wrong: Mapping[str, Json] = {"null": None, "text": "a", "number": 1, "list": [1], "mapping": {"a": 1}}
    sections = (
        "node_templates",
        "node_types",
        "relationships",
        "plugins",
        "inputs",
        "workflows",
        "groups",
        "policies",
        "data_types",
        "policy_types",
        "policy_triggers",
        "dsl_definitions",
        "description",
        "metadata",
        "upload_resources",
        "plugin_resources",
        "nosuch",
    )
    for section, (name, value) in itertools.product(sections, wrong.items()):
        yield Case(name=f"{section} is {name}", blueprint={**on_base(nodes(n={})), section: value})
    for key, (name, value) in itertools.product(
        ("type", "properties", "interfaces", "relationships", "instances", "capabilities", "nosuch"),
        wrong.items(),
    ):
        yield Case(name=f"a node's {key} is {name}", blueprint=on_base(nodes(n={key: value})))
    for key, (name, value) in itertools.product(
        ("executor", "install", "source", "package_name", "package_version", "install_arguments", "nosuch"),
        wrong.items(),
    ):
        plugin = {"executor": "central_deployment_agent", "install": False, key: value}
        yield Case(
            name=f"a plugin's {key} is {name}", blueprint=on_base({"plugins": {"p": plugin}}, nodes(n={}))
        )
    for key, (name, value) in itertools.product(
        ("mapping", "parameters", "is_cascading", "availability_rules", "nosuch"), wrong.items()
    ):
        workflow = {"mapping": "tool.flows.go", key: value}
        yield Case(
            name=f"a workflow's {key} is {name}",
            blueprint=on_base({"workflows": {"go": workflow}}, nodes(n={})),
        )
    for version in ("1_0", "1_1", "1_2", "1_3", "1_4", "1_5", "1_6", "2_0", "x"):
        yield Case(name=f"version {version}", blueprint=on_base(nodes(n={}), version=version))
    for name, text in {"none": None, "text": "1.3", "number": 1.3}.items():
        blueprint = {**on_base(nodes(n={})), "tosca_definitions_version": text}
        yield Case(name=f"version is {name}", blueprint=blueprint)
    yield Case(
        name="no version",
        blueprint={k: v for k, v in on_base(nodes(n={})).items() if k != "tosca_definitions_version"},
    )
    for name, part in NULLS.items():
        yield Case(name=f"null as {name}", blueprint=on_base(nodes(n={}), part))
    for count in (0, 1, 2, -1, "1", "x", 1.5, None):
        yield Case(name=f"deploy {count!r}", blueprint=on_base(nodes(n={"instances": {"deploy": count}})))
        scalable = {"capabilities": {"scalable": {"properties": {"default_instances": count}}}}
        yield Case(name=f"default_instances {count!r}", blueprint=on_base(nodes(n=scalable)))


NULLS: Mapping[str, Json] = {
    "a member": {"groups": {"g": {"members": [None]}}},
    "a target": {"policies": {"p": {"type": "cloudify.policies.scaling", "targets": [None]}}},
    "a constraint": {"inputs": {"i": {"default": 1, "constraints": [None]}}},
    "a label": {"labels": {"l": {"values": [None]}}},
    "a property of a relationship": {"relationships": {DEPENDS: {"properties": {"p": None}}}},
    "a property of a data type": {"data_types": {"d": {"properties": {"p": None}}}},
    "a property of a policy type": {
        "policy_types": {"t": {"source": "script.sh", "properties": {"p": None}}}
    },
    "a parameter of a trigger": {
        "policy_triggers": {"t": {"source": "script.sh", "parameters": {"p": None}}}
    },
    "an input of an operation": {
        "node_types": {ROOT: {"interfaces": {"life": {"create": {"inputs": {"p": None}}}}}}
    },
    "a parameter of a workflow": {"workflows": {"w": {"mapping": "tool.go", "parameters": {"p": None}}}},
    "a required type": {
        "workflows": {"w": {"mapping": "tool.go", "availability_rules": {"node_types_required": [None]}}}
    },
    "a group": {"groups": {"g": None}},
    "a policy": {"policies": {"p": None}},
    "a plugin": {"plugins": {"p": None}},
    "a workflow": {"workflows": {"w": None}},
    "a node": {"node_templates": {"m": None}},
    "an input": {"inputs": {"i": None}},
    "an interface of a type": {"node_types": {ROOT: {"interfaces": {"life": None}}}},
}

KINDS: Mapping[str, Callable[[], Iterator[Case]]] = {
    "imports": imports,
    "namespaces": namespaces,
    "inheritance": inheritance,
    "functions": functions,
    "scaling groups": scaling_groups,
    "policies": policies,
    "capabilities": capabilities,
    "input constraints": constraints,
    "data types": data_types,
    "relationships": relationships,
    "interfaces": interfaces,
    "errors": errors,
}
