"""Puts the names of an imported file into a namespace: ``net--http://...`` makes ``net--my_node``.

Names that begin with ``cloudify.`` and the words of the DSL itself stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from quiesce.blueprint.reading.functions import ROLES
from quiesce.blueprint.reading.imports import DELIMITER
from quiesce.blueprint.reading.primitive_types import KNOWN_TYPES
from quiesce.blueprint.reading.source_map import SourceList, SourceMap, Value, key_position, value_position

BUILT_IN_PREFIX: Final = "cloudify."

_NODE_FUNCTIONS: Final = frozenset(
    {"get_property", "get_attribute", "get_attributes_list", "get_attributes_dict"}
)
_Rewrite: TypeAlias = Callable[[Value, str], Value]


def prefixed(name: Value, namespace: str) -> Value:
    """Return *name* as it is called within *namespace*."""
    if not namespace or not isinstance(name, str) or name.startswith(BUILT_IN_PREFIX) or name in KNOWN_TYPES:
        return name
    return f"{namespace}{DELIMITER}{name}"


def without_namespace(name: str) -> str:
    """Return *name* as its own file calls it."""
    return name.rpartition(DELIMITER)[2]


def in_namespace(section: str, content: Value, namespace: str) -> Value:
    """Return the *section* of an imported file with every name in it put into *namespace*."""
    entry = _SECTIONS.get(section)
    if not namespace or entry is None or not isinstance(content, SourceMap):
        return content
    result = SourceMap(content.position)
    for key in content:
        name = prefixed(key, namespace)
        result.put(
            name, entry(content[key], namespace), key_position(content, key), value_position(content, key)
        )
    return result


def _functions(value: Value, namespace: str) -> Value:
    """Prefix the inputs and nodes that intrinsic functions within *value* name."""
    if isinstance(value, SourceList):
        return _items(value, namespace, _functions)
    if not isinstance(value, SourceMap):
        return value
    result = SourceMap(value.position)
    for key in value:
        inner = _arguments(key, value[key], namespace)
        result.put(key, inner, key_position(value, key), value_position(value, key))
    return result


def _arguments(function: Value, arguments: Value, namespace: str) -> Value:
    inner = _functions(arguments, namespace)
    if function == "get_input" and isinstance(inner, str):
        return prefixed(inner, namespace)
    names_first = function == "get_input" or function in _NODE_FUNCTIONS
    if (
        names_first
        and isinstance(inner, SourceList)
        and inner
        and isinstance(inner[0], str)
        and inner[0] not in ROLES
    ):
        result = SourceList(inner.position)
        for index, (item, position) in enumerate(zip(inner, inner.item_positions, strict=True)):
            result.put(item if index else prefixed(item, namespace), position)
        return result
    return inner


def _items(value: Value, namespace: str, rewrite: _Rewrite) -> Value:
    if not isinstance(value, SourceList):
        return value
    result = SourceList(value.position)
    for item, position in zip(value, value.item_positions, strict=True):
        result.put(rewrite(item, namespace), position)
    return result


def _fields(**fields: _Rewrite) -> _Rewrite:
    """Return a rewriting of a mapping, field by field; other fields stay."""

    def rewrite(value: Value, namespace: str) -> Value:
        if not isinstance(value, SourceMap):
            return value
        result = SourceMap(value.position)
        for key in value:
            change = fields.get(key, _same) if isinstance(key, str) else _same
            result.put(
                key, change(value[key], namespace), key_position(value, key), value_position(value, key)
            )
        return result

    return rewrite


def _each(entry: _Rewrite, *, names: bool = False) -> _Rewrite:
    """Return a rewriting of every value of a mapping, and of its keys where they are *names*."""

    def rewrite(value: Value, namespace: str) -> Value:
        if not isinstance(value, SourceMap):
            return value
        result = SourceMap(value.position)
        for key in value:
            name = prefixed(key, namespace) if names else key
            result.put(
                name, entry(value[key], namespace), key_position(value, key), value_position(value, key)
            )
        return result

    return rewrite


def _list_of(entry: _Rewrite) -> _Rewrite:
    return lambda value, namespace: _items(value, namespace, entry)


def _text_or(fields: _Rewrite) -> _Rewrite:
    return lambda value, namespace: (
        prefixed(value, namespace) if isinstance(value, str) else fields(value, namespace)
    )


def _same(value: Value, namespace: str) -> Value:  # noqa: ARG001  a rewriting like the others
    return value


_PROPERTY = _fields(type=prefixed, default=_functions, constraints=_functions)
_SCHEMA = _each(_PROPERTY)
_TYPE_INTERFACES = _each(_each(_text_or(_fields(implementation=prefixed, inputs=_SCHEMA))))
_INTERFACES = _each(_each(_text_or(_fields(implementation=prefixed, inputs=_functions))))
_RELATIONSHIP = _fields(
    type=prefixed,
    target=prefixed,
    properties=_functions,
    source_interfaces=_INTERFACES,
    target_interfaces=_INTERFACES,
)
_NODE = _fields(
    type=prefixed,
    properties=_functions,
    instances=_functions,
    capabilities=_functions,
    interfaces=_INTERFACES,
    relationships=_list_of(_RELATIONSHIP),
)
_WORKFLOW = _text_or(_fields(mapping=prefixed, parameters=_SCHEMA))
_VALUE = _fields(value=_functions)
_TRIGGER = _fields(type=prefixed, parameters=_functions)
_GROUP_POLICY = _fields(type=prefixed, properties=_functions, triggers=_each(_TRIGGER, names=True))

_SECTIONS: Final[dict[str, _Rewrite]] = {
    "inputs": _PROPERTY,
    "plugins": _same,
    "node_types": _fields(derived_from=prefixed, properties=_SCHEMA, interfaces=_TYPE_INTERFACES),
    "relationships": _fields(
        derived_from=prefixed,
        properties=_SCHEMA,
        source_interfaces=_TYPE_INTERFACES,
        target_interfaces=_TYPE_INTERFACES,
    ),
    "data_types": _fields(derived_from=prefixed, properties=_SCHEMA),
    "node_templates": _NODE,
    "workflows": _WORKFLOW,
    "outputs": _VALUE,
    "capabilities": _VALUE,
    "groups": _fields(members=_list_of(prefixed), policies=_each(_GROUP_POLICY, names=True)),
    "policies": _fields(targets=_list_of(prefixed), properties=_functions),
    "policy_types": _fields(properties=_SCHEMA),
    "policy_triggers": _fields(parameters=_SCHEMA),
    "labels": _functions,
    "blueprint_labels": _same,
    "resource_tags": _functions,
}
