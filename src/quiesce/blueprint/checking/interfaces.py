"""Operations of types and templates, how the one overrides the other, and what implements them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from quiesce.blueprint.checking.inputs import input_schema
from quiesce.blueprint.checking.plugins import EXECUTORS, Plugin
from quiesce.blueprint.checking.properties import DataTypes, Schema, defaults_of
from quiesce.blueprint.reading.imports import DELIMITER
from quiesce.blueprint.reading.namespaces import without_namespace
from quiesce.blueprint.reading.problems import NOWHERE, Position, Problems, suggestion
from quiesce.blueprint.reading.source_map import SourceMap, Value, key_position, value_position
from quiesce.model.topology import Implementation

RUN_SCRIPT: Final = "script_runner.tasks.run"
RUN_WORKFLOW_SCRIPT: Final = "script_runner.tasks.execute_workflow"
_SCRIPT_PLUGIN: Final = "script"
_SCRIPT_PATH: Final = "script_path"
_SCRIPT_SOURCE: Final = "script_source"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredOperation:
    """An operation as a type or a template declares it."""

    implementation: str = ""
    #: of a template: the values that it gives
    values: Mapping[str, Value] = field(default_factory=dict)
    #: of a type: the inputs that it declares
    inputs: Schema = field(default_factory=dict)
    executor: str | None = None
    max_retries: int | None = None
    retry_interval: float | None = None
    timeout: float | None = None
    timeout_recoverable: bool | None = None
    position: Position = field(default=NOWHERE, compare=False)

    @property
    def is_empty(self) -> bool:
        """Tell whether this says that nothing is to be done."""
        return self == _NOTHING


_NOTHING: Final = DeclaredOperation()

#: operations by interface and name
Interfaces: TypeAlias = Mapping[str, Mapping[str, DeclaredOperation]]
_Merge: TypeAlias = Callable[[DeclaredOperation | None, DeclaredOperation | None], DeclaredOperation]


class InterfaceReader:
    """Reads interfaces of types and of templates."""

    def __init__(self, data_types: DataTypes, problems: Problems) -> None:
        self._data_types = data_types
        self._problems = problems

    def of_type(self, section: Value) -> Interfaces:
        """Return the operations that a type declares."""
        return self._read(section, is_type=True)

    def of_template(self, section: Value) -> Interfaces:
        """Return the operations that a template declares."""
        return self._read(section, is_type=False)

    def merged(self, base: Interfaces, own: Interfaces, subject: str) -> Interfaces:
        """Return a template's operations on top of its type's."""
        return _merged(base, own, lambda first, second: self._completed(first, second, subject))

    def _read(self, section: Value, *, is_type: bool) -> Interfaces:
        if not isinstance(section, SourceMap):
            return {}
        return {
            name: {
                operation: self._operation(operations, operation, is_type=is_type)
                for operation in operations or ()
            }
            for name, operations in section.items()
        }

    def _operation(self, section: SourceMap, name: str, *, is_type: bool) -> DeclaredOperation:
        content, position = section[name], key_position(section, name)
        if isinstance(content, str):
            return DeclaredOperation(implementation=content, position=value_position(section, name))
        if not isinstance(content, SourceMap):
            return DeclaredOperation(position=position)
        self._check(content, name)
        inputs = content.get("inputs") or {}
        subject = f"input of operation {name!r}"
        return DeclaredOperation(
            implementation=content.get("implementation") or "",
            values={} if is_type else inputs,
            inputs=input_schema(inputs, subject, self._data_types, self._problems) if is_type else {},
            executor=content.get("executor"),
            max_retries=content.get("max_retries"),
            retry_interval=content.get("retry_interval"),
            timeout=content.get("timeout"),
            timeout_recoverable=content.get("timeout_recoverable"),
            position=value_position(content, "implementation") if "implementation" in content else position,
        )

    def _check(self, content: SourceMap, name: str) -> None:
        executor = content.get("executor")
        if executor is not None and executor not in EXECUTORS:
            what = f"operation {name!r} cannot have the executor {executor!r}"
            self._problems.add(value_position(content, "executor"), what, suggestion(executor, EXECUTORS))
        for key, least in (("max_retries", -1), ("retry_interval", 0), ("timeout", 0)):
            value = content.get(key)
            if value is not None and value < least:
                self._problems.add(
                    value_position(content, key), f"{key!r} must be {least} or more, not {value}"
                )

    def _completed(
        self, base: DeclaredOperation | None, own: DeclaredOperation | None, subject: str
    ) -> DeclaredOperation:
        if base is None or (own is not None and (own.is_empty or base.is_empty)):
            return own or _NOTHING
        mine = own or DeclaredOperation(position=base.position)
        same = not mine.implementation or mine.implementation == base.implementation
        if not same:
            return mine
        return DeclaredOperation(
            implementation=base.implementation,
            values=self._values(base.inputs, mine.values, mine.position, subject),
            executor=base.executor if mine.executor is None else mine.executor,
            max_retries=base.max_retries if mine.max_retries is None else mine.max_retries,
            retry_interval=base.retry_interval if mine.retry_interval is None else mine.retry_interval,
            timeout=base.timeout if mine.timeout is None else mine.timeout,
            position=mine.position,
        )

    def _values(
        self, schema: Schema, given: Mapping[str, Value], position: Position, subject: str
    ) -> Mapping[str, Value]:
        result = SourceMap(position)
        for name, default in defaults_of(schema).items():
            result.put(name, default, position, position)
        for name in given:
            result.put(name, given[name], key_position(given, name), value_position(given, name))
        for name, declared in schema.items():
            if name not in result:
                self._problems.add(position, f"{subject} gives no value for the operation input {name!r}")
            elif declared.type is not None and isinstance(result[name], SourceMap):
                result.put(name, _typed(result[name], declared.type), position, value_position(result, name))
        return result


def _typed(value: SourceMap, kind: str) -> SourceMap:
    """Return *value* with its declared type inside, as the operation of a typed input receives a mapping."""
    result = SourceMap(value.position)
    for key in value:
        result.take(value, key)
    result.put("type", kind, value.position, value.position)
    return result


def inherited(base: Interfaces, own: Interfaces) -> Interfaces:
    """Return a derived type's operations on top of those that it inherits."""
    return _merged(base, own, lambda first, second: second if second is not None else first or _NOTHING)


def _merged(base: Interfaces, own: Interfaces, merge: _Merge) -> Interfaces:
    result: dict[str, dict[str, DeclaredOperation]] = {}
    for name in (*base, *(name for name in own if name not in base)):
        first, second = base.get(name, {}), own.get(name, {})
        operations = (*first, *(operation for operation in second if operation not in first))
        result[name] = {
            operation: merge(first.get(operation), second.get(operation)) for operation in operations
        }
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedImplementation:
    """What an implementation text turns out to mean."""

    plugin: str
    function: str
    #: the input that names the script (path or source) and its value
    script: tuple[str, str] | None = None


class Implementations:
    """Finds what an operation's or workflow's implementation means."""

    def __init__(self, plugins: Mapping[str, Plugin], directory: Path, problems: Problems) -> None:
        self._plugins = plugins
        self._directory = directory
        self._problems = problems

    def target(
        self, text: str, position: Position, subject: str, *, script_function: str = RUN_SCRIPT
    ) -> ResolvedImplementation | None:
        """Return the plugin and function that *text* names, or the script that it is, or None."""
        kind = self._script_kind(text)
        if kind is None:
            return self._function(text, position, subject)
        plugin = next((name for name in self._plugins if name.endswith(_SCRIPT_PLUGIN)), None)
        if plugin is None:
            what = f"{subject} is a script, and no plugin 'script' is defined"
            self._problems.add(position, what, "import cloudify/types/types.yaml")
            return None
        return ResolvedImplementation(plugin=plugin, function=script_function, script=(kind, text))

    def implementation(self, declared: DeclaredOperation, subject: str) -> Implementation | None:
        """Return the operation as the topology has it; None when nothing implements it."""
        if not declared.implementation:
            return None
        target = self.target(declared.implementation, declared.position, subject)
        if target is None:
            return None
        values = declared.values
        if target.script is not None:
            values = self._with_script(declared, target.script, subject)
        executor = declared.executor or ("auto" if target.script else self._plugins[target.plugin].executor)
        return Implementation(
            plugin=target.plugin,
            function=target.function,
            inputs=values,
            executor=executor,
            max_retries=declared.max_retries,
            retry_interval_s=declared.retry_interval,
            timeout_s=declared.timeout,
        )

    def _script_kind(self, text: str) -> str | None:
        if _is_url(text) or self._is_file(text):
            return _SCRIPT_PATH
        return _SCRIPT_SOURCE if "\n" in text.strip() else None

    def _is_file(self, text: str) -> bool:
        name = without_namespace(text)
        try:
            return bool(name) and (self._directory / name).is_file()
        except (OSError, ValueError):
            return False

    def _function(self, text: str, position: Position, subject: str) -> ResolvedImplementation | None:
        for candidate in dict.fromkeys((text, without_namespace(text))):
            plugins = [name for name in self._plugins if candidate.startswith(f"{name}.")]
            if len(plugins) > 1:
                what = f"{subject}: {text!r} may mean the plugins {', '.join(map(repr, plugins))}"
                self._problems.add(position, what, "rename one of them")
                return None
            if plugins:
                return ResolvedImplementation(
                    plugin=plugins[0], function=candidate.removeprefix(f"{plugins[0]}.")
                )
        self._unknown(text, position, subject)
        return None

    def _unknown(self, text: str, position: Position, subject: str) -> None:
        what = f"{subject}: {text!r} is no function of a plugin, and no script next to the blueprint"
        remedy = suggestion(text.partition(".")[0], self._plugins, listed="plugins are")
        self._problems.add(position, what, remedy)

    def _with_script(
        self, declared: DeclaredOperation, script: tuple[str, str], subject: str
    ) -> Mapping[str, Value]:
        result = SourceMap(declared.position)
        for name in declared.values:
            if name in {_SCRIPT_PATH, _SCRIPT_SOURCE}:
                what = f"{subject}: the implementation is a script already, so {name!r} cannot be an input"
                self._problems.add(key_position(declared.values, name), what, "remove one of them")
            result.put(
                name,
                declared.values[name],
                key_position(declared.values, name),
                value_position(declared.values, name),
            )
        name, text = script
        result.put(name, text, declared.position, declared.position)
        return result


def _is_url(text: str) -> bool:
    try:
        return bool(urlsplit(text.rpartition(DELIMITER)[2]).scheme)
    except ValueError:
        return False
