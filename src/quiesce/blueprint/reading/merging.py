"""Merges a blueprint and its imports into one mapping of sections."""

from __future__ import annotations

from typing import Final

from quiesce.blueprint.reading import versions
from quiesce.blueprint.reading.functions import function_of
from quiesce.blueprint.reading.imports import Document, Documents
from quiesce.blueprint.reading.namespaces import BUILT_IN_PREFIX, in_namespace
from quiesce.blueprint.reading.primitive_types import matches_type
from quiesce.blueprint.reading.problems import Position, Problems, suggestion
from quiesce.blueprint.reading.source_map import (
    SourceList,
    SourceMap,
    Value,
    key_position,
    shown,
    value_position,
)

_MERGED: Final = frozenset(
    {
        "node_types",
        "plugins",
        "workflows",
        "relationships",
        "policy_types",
        "policy_triggers",
        "groups",
        "data_types",
    }
)
_MERGED_SINCE_1_3: Final = frozenset(
    {"inputs", "outputs", "node_templates", "capabilities", "labels", "blueprint_labels", "resource_tags"}
)
_FIRST_COUNTS: Final = frozenset({"description", "metadata"})
_OF_ONE_FILE: Final = frozenset({"dsl_definitions", "imports", versions.KEY})
_FIRST_ENTRY_COUNTS: Final = frozenset({"labels", "blueprint_labels", "resource_tags"})
SECTIONS: Final = (
    _MERGED | _MERGED_SINCE_1_3 | _FIRST_COUNTS | _OF_ONE_FILE | {"policies", "deployment_settings"}
)


def merge(documents: Documents, problems: Problems) -> SourceMap:
    """Return all sections of all *documents*; conflicts are added to *problems*."""
    main = documents.all[0].content
    merged = SourceMap(main.position)
    merging = _Merging(documents, merged, problems)
    for document in documents.all:
        merging.document(document)
    merged.take(main, versions.KEY)
    return merged


class _Merging:
    def __init__(self, documents: Documents, merged: SourceMap, problems: Problems) -> None:
        self.merged = merged
        self.problems = problems
        self.mergeable = _MERGED | (_MERGED_SINCE_1_3 if documents.version >= versions.V1_3 else frozenset())

    def document(self, document: Document) -> None:
        """Merge one document into what there is."""
        content = document.content
        for section in content:
            if section not in SECTIONS:
                remedy = suggestion(section, SECTIONS, listed="sections are")
                self.problems.add(key_position(content, section), f"there is no section {section!r}", remedy)
            elif section not in _OF_ONE_FILE:
                self._section(document, section)

    def _section(self, document: Document, section: str) -> None:
        content = document.content
        value = in_namespace(section, content[section], document.namespace)
        if section == "plugins" and document.properties is not None:
            value = _with_properties(value, document.properties, self.problems)
        if section not in self.merged:
            self._insert(section, value, key_position(content, section), value_position(content, section))
        elif section in _FIRST_COUNTS or value is None:
            return
        elif section in self.mergeable:
            self._entries(section, value, document)
        else:
            self._conflict(section, key_position(content, section))

    def _insert(self, section: str, value: Value, key: Position, position: Position) -> None:
        """Put a section that nobody had; a copy, as later files add to it."""
        if isinstance(value, SourceMap):
            copy = SourceMap(value.position)
            for name in value:
                copy.take(value, name)
            value = copy
        self.merged.put(section, value, key, position)

    def _entries(self, section: str, value: Value, document: Document) -> None:
        there = self.merged[section]
        if there is None or not isinstance(value, SourceMap) or not isinstance(there, SourceMap):
            self._insert(section, value if there is None else there, *_positions(self.merged, section))
            return
        for name in value:
            if name not in there or document.basic or str(name).startswith(BUILT_IN_PREFIX):
                there.take(value, name)
            else:
                self._entry(section, there, value, name)

    def _entry(self, section: str, there: SourceMap, value: SourceMap, name: str) -> None:
        """Merge what two files both define."""
        if section in _FIRST_ENTRY_COUNTS:
            return
        old, new = there[name], value[name]
        joined = _joined(section, old, new)
        if joined is not None:
            there.put(name, joined, *_positions(there, name))
        elif section != "workflows":
            where = key_position(value, name)
            what = f"{name!r} in {section!r} was already defined at {key_position(there, name)}"
            self.problems.add(where, what, "rename one, or import one of them into a namespace")

    def _conflict(self, section: str, position: Position) -> None:
        what = f"{section!r} was already given at {key_position(self.merged, section)}"
        since = section in _MERGED_SINCE_1_3
        remedy = f"from {versions.V1_3} on they are merged" if since else "keep it in one file"
        self.problems.add(position, what, remedy)


def _positions(container: SourceMap, key: str) -> tuple[Position, Position]:
    return key_position(container, key), value_position(container, key)


def _joined(section: str, old: Value, new: Value) -> Value | None:
    """Return two definitions of one name as one, or None when they cannot be."""
    if not isinstance(old, SourceMap) or not isinstance(new, SourceMap):
        return None
    if section == "workflows":
        return _filled(old, new)
    return _with_relationships(old, new) if section == "node_templates" else None


def _filled(old: SourceMap, new: SourceMap) -> SourceMap:
    result = SourceMap(old.position)
    for source in (old, new):
        for key in source:
            if key not in result:
                result.take(source, key)
    return result


def _with_relationships(old: SourceMap, new: SourceMap) -> SourceMap | None:
    """Join a node template with one that only adds relationships to it."""
    first, second = old.get("relationships"), new.get("relationships")
    only_old, only_new = set(old) == {"relationships"}, set(new) == {"relationships"}
    if not isinstance(first, SourceList) or not (only_new or (only_old and "type" in new)):
        return None
    result = SourceMap(old.position)
    for source in (old, new):
        for key in source:
            result.take(source, key)
    both = SourceList(first.position)
    for part in (first, second if isinstance(second, SourceList) else SourceList(first.position)):
        for item, position in zip(part, part.item_positions, strict=True):
            both.put(item, position)
    result.put("relationships", both, *_positions(result, "relationships"))
    return result


def _with_properties(plugins: Value, properties: SourceMap, problems: Problems) -> Value:
    """Return *plugins* with the property values that the import gives them."""
    if not isinstance(plugins, SourceMap):
        return plugins
    result = SourceMap(plugins.position)
    for name in plugins:
        plugin = plugins[name]
        declared = plugin.get("properties") if isinstance(plugin, SourceMap) else None
        if not isinstance(declared, SourceMap):
            result.take(plugins, name)
            continue
        _check_given(properties, declared, name, problems)
        result.put(name, _with_values(plugin, declared, properties), *_positions(plugins, name))
    return result


def _check_given(properties: SourceMap, declared: SourceMap, plugin: str, problems: Problems) -> None:
    for name, value in properties.items():
        if name not in declared:
            what = f"the plugin {plugin!r} has no property {name!r}"
            problems.add(key_position(properties, name), what, suggestion(name, declared, listed="it has"))
            continue
        kind = (declared[name] or {}).get("type")
        if function_of(value) is None and not matches_type(value, kind or ""):
            what = (
                f"the property {name!r} of the plugin {plugin!r} must be of type {kind!r}, not {shown(value)}"
            )
            problems.add(value_position(properties, name), what)


def _with_values(plugin: SourceMap, declared: SourceMap, given: SourceMap) -> SourceMap:
    values = SourceMap(declared.position)
    for name in declared:
        schema = declared[name]
        if name in given and isinstance(schema, SourceMap):
            filled = SourceMap(schema.position)
            for key in schema:
                filled.take(schema, key)
            filled.put("value", given[name], *_positions(given, name))
            values.put(name, filled, *_positions(declared, name))
        else:
            values.take(declared, name)
    result = SourceMap(plugin.position)
    for key in plugin:
        result.take(plugin, key)
    result.put("properties", values, *_positions(plugin, "properties"))
    return result
