"""The shape of each section of a blueprint, per version of the DSL."""

from __future__ import annotations

from typing import Final

from quiesce.blueprint.checking.shapes import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    LIST,
    MAPPING,
    NUMBER,
    TEXT,
    Check,
    Field,
    Leaf,
    ListOf,
    MapOf,
    Record,
    Shape,
    TextOr,
)
from quiesce.blueprint.reading import versions
from quiesce.blueprint.reading.problems import Problems
from quiesce.blueprint.reading.source_map import SourceMap, value_position
from quiesce.blueprint.reading.versions import V1_1, V1_2, V1_3, V1_4, V1_5, DslVersion

_PROPERTY: Final = {
    "description": Field(shape=TEXT),
    "type": Field(shape=TEXT),
    "default": Field(shape=ANYTHING),
    "required": Field(shape=BOOLEAN, since=V1_2),
}
_PARAMETER: Final = _PROPERTY | {
    "item_type": Field(shape=TEXT, since=V1_4),
    "constraints": Field(shape=ListOf(MAPPING)),
}
_INPUT: Final = _PARAMETER | {
    "display_label": Field(shape=TEXT, since=V1_3),
    "hidden": Field(shape=BOOLEAN, since=V1_3),
    "display": Field(shape=Record({"rows": Field(shape=INTEGER)})),
}
_PROPERTIES: Final = MapOf(Record(_PROPERTY), filled=True)
_OF_POLICIES: Final = MapOf(Record(_PROPERTY))
_INPUTS: Final = MapOf(Record(_INPUT))


def _interfaces(inputs: Shape) -> MapOf:
    operation = {
        "implementation": Field(shape=TEXT),
        "inputs": Field(shape=inputs),
        "executor": Field(shape=TEXT),
        "max_retries": Field(shape=INTEGER, since=V1_1),
        "retry_interval": Field(shape=NUMBER, since=V1_1),
        "timeout": Field(shape=NUMBER),
        "timeout_recoverable": Field(shape=BOOLEAN),
    }
    return MapOf(MapOf(TextOr(Record(operation))))


_TYPE_INTERFACES: Final = _interfaces(_INPUTS)
_INTERFACES: Final = _interfaces(MAPPING)

_COUNT: Final = Leaf((int, dict))
_SCALING: Final = Record(
    {
        "min_instances": Field(shape=_COUNT),
        "max_instances": Field(shape=Leaf((int, str, dict))),
        "default_instances": Field(shape=_COUNT),
    }
)

_NODE_TYPE: Final = Record(
    {
        "derived_from": Field(shape=TEXT),
        "interfaces": Field(shape=_TYPE_INTERFACES),
        "properties": Field(shape=_PROPERTIES),
        "runtime_properties": Field(shape=_PROPERTIES),
    }
)
_RELATIONSHIP_TYPE: Final = Record(
    {
        "derived_from": Field(shape=TEXT),
        "properties": Field(shape=_PROPERTIES),
        "source_interfaces": Field(shape=_TYPE_INTERFACES),
        "target_interfaces": Field(shape=_TYPE_INTERFACES),
    }
)
_DATA_TYPE: Final = Record(
    {
        "properties": Field(shape=_PROPERTIES),
        "description": Field(shape=TEXT),
        "derived_from": Field(shape=TEXT),
        "version": Field(shape=TEXT),
    }
)
_RELATIONSHIP: Final = Record(
    {
        "type": Field(shape=TEXT, required=True),
        "target": Field(shape=TEXT, required=True),
        "properties": Field(shape=MAPPING),
        "source_interfaces": Field(shape=_INTERFACES),
        "target_interfaces": Field(shape=_INTERFACES),
    }
)
_NODE: Final = Record(
    {
        "type": Field(shape=TEXT, required=True),
        "instances": Field(shape=Record({"deploy": Field(shape=INTEGER, required=True)})),
        "capabilities": Field(
            shape=Record({"scalable": Field(shape=Record({"properties": Field(shape=_SCALING)}))}), since=V1_3
        ),
        "interfaces": Field(shape=_INTERFACES),
        "relationships": Field(shape=ListOf(_RELATIONSHIP)),
        "properties": Field(shape=MAPPING),
    }
)
_PLUGIN: Final = Record(
    {
        "executor": Field(shape=TEXT, required=True),
        "source": Field(shape=TEXT),
        "install": Field(shape=BOOLEAN),
        "install_arguments": Field(shape=TEXT, since=V1_1),
        "package_name": Field(shape=TEXT, since=V1_2),
        "package_version": Field(shape=TEXT, since=V1_2),
        "supported_platform": Field(shape=TEXT, since=V1_2),
        "distribution": Field(shape=TEXT, since=V1_2),
        "distribution_version": Field(shape=TEXT, since=V1_2),
        "distribution_release": Field(shape=TEXT, since=V1_2),
        "properties_description": Field(shape=TEXT, since=V1_5),
        "properties": Field(
            shape=MapOf(
                Record(
                    {
                        "description": Field(shape=TEXT),
                        "type": Field(shape=TEXT),
                        "display_label": Field(shape=TEXT),
                        "value": Field(shape=ANYTHING),
                    }
                )
            ),
            since=V1_5,
        ),
    }
)
_WORKFLOW: Final = Record(
    {
        "mapping": Field(shape=TEXT, required=True),
        "parameters": Field(shape=MapOf(Record(_PARAMETER))),
        "is_cascading": Field(shape=BOOLEAN),
        "availability_rules": Field(
            shape=Record(
                {
                    "available": Field(shape=BOOLEAN),
                    "node_instances_active": Field(shape=LIST),
                    "node_types_required": Field(shape=ListOf(TEXT)),
                }
            ),
            since=V1_4,
        ),
    }
)
_DESCRIBED_VALUE: Final = Record(
    {"description": Field(shape=TEXT), "value": Field(shape=ANYTHING, required=True)}
)
_LABEL: Final = Record({"values": Field(shape=ListOf(Leaf((str, dict))), required=True)})
_BLUEPRINT_LABEL: Final = Record({"values": Field(shape=ListOf(TEXT), required=True)})
_TRIGGER_USE: Final = Record({"type": Field(shape=TEXT, required=True), "parameters": Field(shape=MAPPING)})
_GROUP: Final = Record(
    {
        "members": Field(shape=ListOf(TEXT), required=True),
        "policies": Field(
            shape=MapOf(
                Record(
                    {
                        "type": Field(shape=TEXT, required=True),
                        "properties": Field(shape=MAPPING),
                        "triggers": Field(shape=MapOf(_TRIGGER_USE)),
                    }
                )
            )
        ),
    }
)
_POLICY: Final = Record(
    {
        "type": Field(shape=TEXT, required=True),
        "properties": Field(shape=_SCALING),
        "targets": Field(shape=ListOf(TEXT), required=True),
    }
)
_POLICY_TYPE: Final = Record(
    {"source": Field(shape=TEXT, required=True), "properties": Field(shape=_OF_POLICIES)}
)
_TRIGGER: Final = Record(
    {"source": Field(shape=TEXT, required=True), "parameters": Field(shape=_OF_POLICIES)}
)
_SETTINGS: Final = Record(
    {
        "default_schedules": Field(shape=MAPPING),
        "default_groups": Field(shape=LIST),
        "id_template": Field(shape=TEXT),
        "display_name": Field(shape=Leaf((str, dict))),
    }
)

BLUEPRINT: Final = Record(
    {
        versions.KEY: Field(shape=TEXT),
        "description": Field(shape=TEXT, since=V1_2),
        "metadata": Field(shape=MAPPING),
        "dsl_definitions": Field(shape=Leaf((dict, list)), since=V1_2),
        "inputs": Field(shape=_INPUTS),
        "plugins": Field(shape=MapOf(_PLUGIN)),
        "node_types": Field(shape=MapOf(_NODE_TYPE)),
        "relationships": Field(shape=MapOf(_RELATIONSHIP_TYPE)),
        "node_templates": Field(shape=MapOf(_NODE)),
        "policy_types": Field(shape=MapOf(_POLICY_TYPE)),
        "policy_triggers": Field(shape=MapOf(_TRIGGER)),
        "groups": Field(shape=MapOf(_GROUP)),
        "policies": Field(shape=MapOf(_POLICY), since=V1_3),
        "workflows": Field(shape=MapOf(TextOr(_WORKFLOW))),
        "outputs": Field(shape=MapOf(_DESCRIBED_VALUE)),
        "data_types": Field(shape=MapOf(_DATA_TYPE), since=V1_2),
        "capabilities": Field(shape=MapOf(_DESCRIBED_VALUE)),
        "labels": Field(shape=MapOf(_LABEL, filled=True)),
        "blueprint_labels": Field(shape=MapOf(_BLUEPRINT_LABEL, filled=True)),
        "deployment_settings": Field(shape=_SETTINGS),
        "resource_tags": Field(shape=MapOf(ANYTHING), since=V1_3),
    }
)


def check_schema(blueprint: SourceMap, version: DslVersion, problems: Problems) -> None:
    """Add whatever in the merged *blueprint* has not the shape that *version* asks for."""
    check = Check(version, problems)
    for section in blueprint:
        field = BLUEPRINT.fields.get(section)
        if field is not None:
            one = SourceMap(value_position(blueprint, section))
            one.take(blueprint, section)
            check.value(one, Record({section: field}), one.position, section)
