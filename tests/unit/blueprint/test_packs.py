"""The packs that are shipped can be read, miss nothing, and say what the workflows take."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from quiesce.blueprint import packs
from quiesce.blueprint.checking.interfaces import Implementations, InterfaceReader
from quiesce.blueprint.checking.plugins import read_plugins
from quiesce.blueprint.checking.properties import DataTypes
from quiesce.blueprint.checking.schema import check_schema
from quiesce.blueprint.checking.types import NODE, RELATIONSHIP, read_types
from quiesce.blueprint.reading import shorthand
from quiesce.blueprint.reading.imports import read_documents
from quiesce.blueprint.reading.merging import merge
from quiesce.blueprint.reading.problems import Problem, Problems
from quiesce.blueprint.reading.sources import ImportPolicy, brought_sections
from quiesce.blueprint.reading.versions import VERSIONS, DslVersion
from quiesce.planning import WORKFLOWS, default_of, parameters_of
from quiesce.provider_kit.installed import installed_providers

BROUGHT = [each.node_types for each in installed_providers() if each.node_types is not None]
FILES = [*sorted(packs.DIRECTORY.glob("*.yaml")), *BROUGHT]


def test_our_plugin_file_of_any_environment_is_our_pack() -> None:
    """The documentation says to import it by the path at which it is installed."""
    for name in ("plugin.yaml", "plugin_1_5.yaml"):
        assert packs.pack_for(f"/opt/cfy/lib/python3.11/site-packages/quiesce/cloudify/{name}") == packs.OWN
    assert packs.pack_for("/opt/quiesce/plugin.yaml") != packs.OWN


def problems_of_all(version: DslVersion, directory: Path) -> list[Problem]:
    """Read everything that every pack defines, used or not."""
    imports = "".join(f"  - plugin:{name}\n" for name in packs.names())
    path = directory / "blueprint.yaml"
    path.write_text(
        f"tosca_definitions_version: {version}\nimports:\n  - cloudify/types/types.yaml\n{imports}"
    )
    problems = Problems()
    documents = read_documents(path, ImportPolicy(), problems)
    merged = merge(documents, problems)
    check_schema(merged, version, problems)
    data_types = DataTypes(merged["data_types"], version, problems)
    data_types.check_all()
    reader = InterfaceReader(data_types, problems)
    found = Implementations(read_plugins(merged["plugins"], problems), directory, problems)
    kinds = [
        *read_types(merged["node_types"], NODE, data_types, reader, problems).values(),
        *read_types(merged["relationships"], RELATIONSHIP, data_types, reader, problems).values(),
    ]
    for kind in kinds:
        for interfaces in (kind.interfaces, kind.source_interfaces, kind.target_interfaces):
            for operations in interfaces.values():
                for name, declared in operations.items():
                    found.implementation(declared, f"{kind.name}, {name}")
    return problems.found


@pytest.mark.parametrize("version", VERSIONS[3:], ids=str)
def test_every_type_of_every_pack_is_complete(version: DslVersion, tmp_path: Path) -> None:
    """Types, data types, plugins and parents that a pack names are there, in every version of the DSL."""
    assert problems_of_all(version, tmp_path) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_any_yaml_reader_reads_a_pack(path: Path) -> None:
    """The fast reader forgives what others do not."""
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_our_own_workflows_take_the_parameters_that_planning_knows() -> None:
    """Names and defaults are the same as those of the command line."""
    workflows = brought_sections("quiesce")["workflows"]
    assert set(workflows) == set(WORKFLOWS)
    for name in WORKFLOWS:
        content = workflows[name]
        assert isinstance(content, dict)
        parameters = content["parameters"]
        assert isinstance(parameters, dict)
        declared = {parameter.name: default_of(parameter, name) for parameter in parameters_of(name)}
        assert set(parameters) == set(declared)
        for parameter, default in declared.items():
            shown = parameters[parameter]
            assert isinstance(shown, dict)
            if default not in (None, []):
                assert shown["default"] == default


def test_the_shorthand_spells_out_as_its_description_says() -> None:
    """The example of the module's own description."""
    assert shorthand.__doc__ is not None
    example = shorthand.__doc__.split("::", 1)[1].split("``is`` is", 1)[0]
    pack = shorthand.expanded(yaml.safe_load(example), "example.yaml")
    assert pack["node_types"] == {
        "cloudify.nodes.acme.Disk": {
            "derived_from": "cloudify.nodes.Volume",
            "properties": {
                "use_external_resource": {"type": "boolean", "default": False},
                "size": {"type": "integer", "default": 10},
                "comment": {"type": "string", "required": False},
            },
            "interfaces": {
                "cloudify.interfaces.lifecycle": {
                    "create": {
                        "implementation": "acme.acme_plugin.disk.create",
                        "inputs": {
                            "size": {"default": {"get_property": ["SELF", "size"]}},
                            "name": {"default": {"get_attribute": ["SELF", "name"]}},
                        },
                    }
                },
                "cloudify.interfaces.snapshot": {
                    "create": {"implementation": "acme.acme_plugin.disk.snapshot"}
                },
            },
        },
        "cloudify.acme.nodes.Disk": {"derived_from": "cloudify.nodes.acme.Disk"},
    }
