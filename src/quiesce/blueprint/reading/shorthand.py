"""Reads the shorthand in which the shipped packs are written, and expands it to DSL.

A pack says what blueprints rely on, one line for each fact::

    sets:
      resource: {use_external_resource: boolean = false}
    node_types:
      cloudify.nodes.acme.Disk:
        is: cloudify.nodes.Volume
        called: cloudify.acme.nodes.Disk
        like: [resource]
        has:
          size: integer = 10
          comment: string?
        by: acme.acme_plugin.disk
        does:
          lifecycle.create: create(size, name@SELF)
          snapshot.create: snapshot

``is`` is the parent, ``called`` other names that derive from this one, ``like`` names sets of properties.
A property is ``TYPE = DEFAULT``; ``?`` after the type makes it optional, ``any`` means no type. An operation
is a function behind the prefix ``by``; a name in its parentheses is an input that defaults to the property
of that name, ``name@SELF`` to the attribute, and ``name=other@TARGET`` to another's attribute ``other``.
The long form of an operation is a mapping with ``run``, ``inputs`` and ``executor``. Null means no-op.

A type or workflow that is written as plain DSL stays as it is, in the same file or in one of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from quiesce.blueprint.reading.problems import Position
from quiesce.blueprint.reading.source_map import SourceList, SourceMap, Value

_PROPERTY = re.compile(r"(?P<type>[\w.]*)(?P<optional>\?)?\s*(?:=\s*(?P<default>.*))?", re.DOTALL)
_OPERATION = re.compile(r"(?P<function>[\w.]+)(?:\((?P<inputs>[^)]*)\))?")
_INTERFACES: Final = "cloudify.interfaces."
_SHORTHAND: Final = frozenset({"is", "called", "like", "has", "by", "does", "source", "target"})
_SECTIONS: Final = ("node_types", "relationships", "data_types", "workflows")


def expanded(pack: Mapping[str, Any], file: str) -> SourceMap:
    """Return the pack as the DSL has it."""
    return _Pack(pack, Position(file)).content()


class _Pack:
    def __init__(self, pack: Mapping[str, Any], position: Position) -> None:
        self._pack = pack
        self._position = position
        self._sets: Mapping[str, Mapping[str, Any]] = pack.get("sets", {})

    def content(self) -> SourceMap:
        """Return every section."""
        result = {name: content for name, content in self._pack.items() if name not in {*_SECTIONS, "sets"}}
        result["node_types"] = dict(self._types("node_types"))
        result["relationships"] = dict(self._types("relationships"))
        result["data_types"] = dict(self._types("data_types"))
        result["workflows"] = {
            name: self._workflow(each) for name, each in self._pack.get("workflows", {}).items()
        }
        content = _with_positions(
            {name: content for name, content in result.items() if content}, self._position
        )
        return content if isinstance(content, SourceMap) else SourceMap(self._position)

    def _types(self, section: str) -> Iterator[tuple[str, Any]]:
        for name, content in self._pack.get(section, {}).items():
            yield name, self._type(content or {})
            for alias in _names((content or {}).get("called")):
                yield alias, {"derived_from": name}

    def _type(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        if not _SHORTHAND.intersection(content):
            return content
        if unknown := sorted(content.keys() - _SHORTHAND):
            raise ValueError(f"{unknown[0]!r} cannot stand beside the shorthand: it would be lost")
        properties: dict[str, Any] = {}
        for each in content.get("like", ()):
            properties |= self._sets[each]
        properties |= content.get("has", {})
        prefix = content.get("by", "")
        result = {
            "derived_from": content.get("is"),
            "properties": _schema(properties),
            "interfaces": _interfaces(content.get("does", {}), prefix),
            "source_interfaces": _interfaces(content.get("source", {}), prefix),
            "target_interfaces": _interfaces(content.get("target", {}), prefix),
        }
        return {key: value for key, value in result.items() if value}

    def _workflow(self, content: str | Mapping[str, Any]) -> Mapping[str, Any]:
        if isinstance(content, str):
            return {"mapping": content}
        if "mapping" in content:
            return content
        return {"mapping": content["does"], "parameters": _schema(content.get("takes", {}))}


def _names(called: Any) -> list[str]:
    return [called] if isinstance(called, str) else list(called or ())


def _schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _property(text) for name, text in properties.items()}


def _property(text: str) -> dict[str, Any]:
    found = _PROPERTY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not a property: {text!r}")
    result: dict[str, Any] = {}
    if found["type"] not in {"", "any"}:
        result["type"] = found["type"]
    if found["default"] is not None:
        result["default"] = yaml.safe_load(found["default"])
    if found["optional"]:
        result["required"] = False
    return result


def _interfaces(operations: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    result: dict[str, dict[str, Any]] = {}
    for name, operation in operations.items():
        interface, _, short = name.rpartition(".")
        # one of Cloudify's own is written without what all of them begin with
        full = interface if ".interfaces." in interface else f"{_INTERFACES}{interface}"
        result.setdefault(full, {})[short] = _operation(operation, prefix)
    return result


def _operation(operation: Any, prefix: str) -> dict[str, Any]:
    if operation is None:
        return {}
    content = operation if isinstance(operation, dict) else {"run": operation}
    found = _OPERATION.fullmatch(content["run"])
    if found is None:
        raise ValueError(f"not an operation: {content['run']!r}")
    inputs = _inputs(found["inputs"] or "") | _schema(content.get("inputs", {}))
    result: dict[str, Any] = {"implementation": ".".join(filter(None, (prefix, found["function"])))}
    if inputs:
        result["inputs"] = inputs
    return result | {key: content[key] for key in ("executor",) if key in content}


def _inputs(text: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, source = part.partition("=")
        attribute, is_attribute, who = (source or name).partition("@")
        function = "get_attribute" if is_attribute else "get_property"
        result[name.partition("@")[0]] = {"default": {function: [who or "SELF", attribute]}}
    return result


def _with_positions(value: Any, position: Position) -> Value:
    if isinstance(value, dict):
        result = SourceMap(position)
        for key, each in value.items():
            result.put(key, _with_positions(each, position), position, position)
        return result
    if isinstance(value, list):
        items = SourceList(position)
        for each in value:
            items.put(_with_positions(each, position), position)
        return items
    return value
