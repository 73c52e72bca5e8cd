"""Types, properties and operations are inherited and completed as the DSL says."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_a_template_completes_its_properties_from_its_types(load: Any) -> None:
    """The nearest default counts."""
    blueprint = load(
        """\
node_types:
  base: {derived_from: cloudify.nodes.Root, properties: {size: {default: 1}, color: {default: red}}}
  small: {derived_from: base, properties: {size: {default: 0}}}
node_templates: {app: {type: small, properties: {color: blue}}}
"""
    )
    assert blueprint.nodes["app"].type_hierarchy == ("cloudify.nodes.Root", "base", "small")
    assert blueprint.nodes["app"].properties == {"use_external_resource": False, "size": 0, "color": "blue"}


def test_a_data_type_fills_what_is_left_open(load: Any) -> None:
    """Nested defaults, inherited ones and given ones are laid over one another."""
    blueprint = load(
        """\
data_types:
  port: {properties: {number: {type: integer, default: 80}, host: {default: here}}}
  secure: {derived_from: port, properties: {number: {type: integer, default: 443}}}
node_types:
  web: {derived_from: cloudify.nodes.Root, properties: {port: {type: secure, default: {host: there}}}}
  web2: {derived_from: web, properties: {port: {type: secure, default: {number: 8443}}}}
node_templates: {app: {type: web2}}
"""
    )
    assert blueprint.nodes["app"].properties["port"] == {"number": 8443, "host": "there"}


def test_an_external_resource_may_leave_required_properties_out(load: Any, problems: Any) -> None:
    """What exists need not be described."""
    types = "node_types: {t: {derived_from: cloudify.nodes.Root, properties: {size: {}}}}\n"
    text = types + "node_templates: {app: {type: t%s}}\n"
    assert problems(text % "") == ["blueprint.yaml:5:18: node 'app' lacks the property 'size'"]
    assert load(text % ", properties: {use_external_resource: true}").nodes["app"].properties == {
        "use_external_resource": True
    }


def test_a_template_overrides_parts_of_an_operation(load: Any) -> None:
    """Inputs join while the implementation stays, and are replaced with it."""
    blueprint = load(
        """\
plugins: {p: {executor: central_deployment_agent, install: false}}
node_types:
  t:
    derived_from: cloudify.nodes.Root
    interfaces:
      life:
        a: &both {implementation: p.f, inputs: {x: {default: 1}, y: {default: 2}}, max_retries: 3}
        b: *both
        c: *both
        d: p.g
node_templates:
  app:
    type: t
    interfaces:
      life: {a: {inputs: {x: 5}}, b: {implementation: p.h, inputs: {z: 1}}, c: {}, e: p.i}
"""
    )
    operations = blueprint.nodes["app"].operations
    assert (operations["life.a"].function, operations["life.a"].inputs) == ("f", {"x": 5, "y": 2})
    assert operations["life.a"].max_retries == 3
    assert (operations["life.b"].function, operations["life.b"].inputs) == ("h", {"z": 1})
    assert operations["life.b"].max_retries is None
    assert operations["life.d"].function == "g"
    assert operations["life.e"].function == "i"
    assert "life.c" not in operations


def test_a_script_is_run_by_the_script_plugin(load: Any, directory: Path) -> None:
    """A file next to the blueprint, a URL and text of several lines are scripts."""
    (directory / "run.sh").write_text("")
    blueprint = load(
        """\
node_templates:
  app:
    type: cloudify.nodes.Root
    interfaces:
      life: {a: run.sh, b: "http://example.org/x.py", c: "#!/bin/sh\\ntrue", d: script.tasks.run}
"""
    )
    operations = blueprint.nodes["app"].operations
    assert {each.plugin for each in operations.values()} == {"script"}
    assert {each.function for each in operations.values()} == {"script_runner.tasks.run", "tasks.run"}
    assert operations["life.a"].inputs == {"script_path": "run.sh"}
    assert operations["life.b"].inputs == {"script_path": "http://example.org/x.py"}
    assert operations["life.c"].inputs == {"script_source": "#!/bin/sh\ntrue"}
    assert operations["life.d"].inputs == {}


def test_workflows_come_with_their_parameters(load: Any) -> None:
    """What a later tool lists, it finds here."""
    workflow = load(
        """\
plugins: {p: {executor: central_deployment_agent, install: false}}
workflows: {grow: {mapping: p.flows.grow, parameters: {by: {type: integer, default: 1}}}, wilt: p.flows.wilt}
"""
    ).workflows
    assert (workflow["grow"].plugin, workflow["grow"].function) == ("p", "flows.grow")
    assert workflow["grow"].parameters["by"].default == 1
    assert workflow["wilt"].function == "flows.wilt"
