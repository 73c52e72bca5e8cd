"""The `ctx` of one operation on one node instance."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from quiesce_link import QuiesceLink

if TYPE_CHECKING:
    import logging

NODE_INSTANCE = "node-instance"
Properties = dict[str, Any]


class StoppedError(RuntimeError):
    """What `abort_operation` and `retry_operation` answer; shell scripts end with it."""

    def __init__(self, message: str | None, *, retry: bool = False) -> None:
        super().__init__(message or "")
        self.retry = retry


class ImmutableProperties(Properties):
    """A node's properties: the same for all its instances, so not to be changed by one."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("node properties cannot be changed; use ctx.instance.runtime_properties")

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = pop = popitem = clear = setdefault = _refuse


class NodeContext:
    """A declared component."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.id: str = data["id"]
        self.name: str = data["id"]
        self.type: str = data["type"]
        self.type_hierarchy: list[str] = data["type_hierarchy"]
        self.properties = ImmutableProperties(data["properties"])


class InstanceContext:
    """One running copy of a node, with the runtime properties that outlive the operation."""

    def __init__(self, data: Mapping[str, Any], link: QuiesceLink | None = None) -> None:
        self.id: str = data["id"]
        self.host_ip: str | None = data.get("host_ip")
        self.relationships = [RelationshipContext(each) for each in data.get("relationships", ())]
        self._link = link
        self._runtime_properties: Properties = {}
        self._saved: Properties = {}
        self._take(data["runtime_properties"])

    @property
    def runtime_properties(self) -> Properties:
        """What operations keep about this instance; changes are saved when the operation is over."""
        return self._runtime_properties

    @runtime_properties.setter
    def runtime_properties(self, properties: Properties) -> None:
        self._runtime_properties = dict(properties)

    def update(self, on_conflict: Callable[[Properties, Properties], Properties] | None = None) -> None:
        """Save changed runtime properties now."""
        if on_conflict is not None:
            self._runtime_properties = on_conflict(dict(self._runtime_properties), dict(self._saved))
        before, after = self._saved, self._runtime_properties
        changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
        removed = [key for key in before if key not in after]
        if (changed or removed) and self._link:
            self._take(self._link.ask("save", changed=changed, removed=removed))

    def refresh(self, force: bool = False) -> None:
        """Read the runtime properties again.

        Raises:
            RuntimeError: when there are changes that would be lost, unless *force* is true.
        """
        if not force and self._saved != self._runtime_properties:
            raise RuntimeError("runtime properties were changed; save them with update() first")
        if self._link:
            data: Any = self._link.ask("context")
            self._take(data["instance"]["runtime_properties"])

    def _take(self, properties: Any) -> None:
        self._runtime_properties = dict(properties)
        self._saved = json.loads(json.dumps(properties))


class RelationshipContext:
    """A dependency on another instance, which can be read but not changed."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.type: str = data["type"]
        self.type_hierarchy: list[str] = [data["type"]]
        self.target = RelationshipTarget(data)


class RelationshipTarget:
    """The other end of a relationship."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.node = NodeContext(data["node"])
        self.instance = InstanceContext(data["instance"])


class NamedContext:
    """Something of which its name is known."""

    def __init__(self, identifier: str) -> None:
        self.id = identifier
        self.name = identifier
        self.display_name = identifier

    def __str__(self) -> str:
        return self.id


class OperationContext:
    """The operation that runs."""

    def __init__(self, data: Mapping[str, Any], link: QuiesceLink) -> None:
        self.name: str = data["name"]
        self.retry_number: int = data["retry_number"]
        self.max_retries: int = data["max_retries"]
        self._link = link

    def retry(self, message: str | None = None, retry_after: float | str | None = None) -> str:
        """Have the operation run again once it has returned."""
        self._link.ask("retry", message=message, retry_after=retry_after)
        return "RETRY"


class ScriptContext:
    """What a script knows about the node instance and the operation it works for."""

    type = NODE_INSTANCE

    def __init__(self, link: QuiesceLink) -> None:
        data: Any = link.ask("context")
        self._link = link
        self._blueprint_dir: str = data["blueprint_dir"]
        self._logger: logging.Logger | None = None
        self.inputs: Properties = data["inputs"]
        self.node = NodeContext(data["node"])
        self.instance = InstanceContext(data["instance"], link)
        self.operation = OperationContext(data["operation"], link)
        self.deployment = NamedContext(data["deployment"])
        self.blueprint = NamedContext(data["blueprint"])
        self.plugin = NamedContext(data["plugin"])
        self.execution_id: str = data["execution_id"]
        self.workflow_id: str = data["workflow_id"]
        self.task_id: str = data["task_id"]
        self.task_name: str = data["task_name"]

    @property
    def logger(self) -> logging.Logger:
        """A logger whose lines become lines of the execution's log."""
        if self._logger is None:
            from cloudify._logging import logger_for

            self._logger = logger_for(self._link)
        return self._logger

    def returns(self, value: object) -> None:
        """Set the operation's result; once."""
        self._link.ask("returns", value=value)

    def abort_operation(self, message: str | None = None) -> StoppedError:
        """Let the operation fail for good; once."""
        self._link.ask("abort", message=message)
        return StoppedError(message)

    def retry_operation(
        self, message: str | None = None, retry_after: float | str | None = None
    ) -> StoppedError:
        """Let the operation run again later; once."""
        self._link.ask("retry_operation", message=message, retry_after=retry_after)
        return StoppedError(message, retry=True)

    def get_resource(self, resource_path: str) -> bytes:
        """Return the content of a file next to the blueprint."""
        with open(self._resource(resource_path), "rb") as file:
            return file.read()

    def get_resource_and_render(
        self,
        resource_path: str,
        template_variables: Mapping[str, object] | None = None,
        **variables: object,
    ) -> str:
        """Return the content of a Jinja template next to the blueprint, filled in."""
        text = self.get_resource(resource_path).decode()
        return self._render(text, {**(template_variables or {}), **variables})

    def download_resource(self, resource_path: str, target_path: str | None = None) -> str:
        """Copy a file next to the blueprint to *target_path*, or to a new file, and return where it is."""
        return _write(self.get_resource(resource_path), resource_path, target_path)

    def download_resource_and_render(
        self,
        resource_path: str,
        target_path: str | None = None,
        template_variables: Mapping[str, object] | None = None,
        **variables: object,
    ) -> str:
        """Fill in a Jinja template next to the blueprint and return the file it is in."""
        text = self.get_resource_and_render(resource_path, template_variables, **variables)
        return _write(text.encode(), resource_path, target_path)

    def _resource(self, resource_path: str) -> str:
        root = os.path.realpath(self._blueprint_dir)
        path = os.path.realpath(os.path.join(root, resource_path.lstrip("/")))
        if os.path.commonpath([root, path]) != root:
            raise ValueError(f"{resource_path} is not below the blueprint's directory")
        return path

    def _render(self, text: str, variables: Mapping[str, object]) -> str:
        from cloudify._render import render

        return render(text, {**variables, "ctx": self})


def _write(content: bytes, resource_path: str, target_path: str | None) -> str:
    if target_path is None:
        import tempfile

        directory = tempfile.mkdtemp(prefix="resource-")
        target_path = os.path.join(directory, os.path.basename(resource_path))
    with open(target_path, "wb") as file:
        file.write(content)
    return target_path
