"""Runs one Python function of a Cloudify plugin as an operation, with the real `cloudify` package's ctx.

Usage: run_function.py FUNCTION, or run_function.py --check FUNCTION, which only imports it. Runs in whatever
Python has cloudify-common and the plugin.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:1] = [os.path.join(_HERE, "link")]

from cloudify import dispatch, exceptions, logs, utils
from cloudify_rest_client.node_instances import NodeInstance
from cloudify_rest_client.nodes import Node
from quiesce_link import QuiesceLink, connect


class InstanceStorage:
    """Answers Cloudify's local endpoint out of the context data that quiesce gave."""

    def __init__(self, data: dict[str, Any], link: QuiesceLink) -> None:
        self._data = data
        self._link = link
        self._relations = data["instance"]["relationships"]
        self._nodes = {each["node"]["id"]: each["node"] for each in [data, *self._relations]}
        self._instances = {each["instance"]["id"]: each for each in [data, *self._relations]}
        self.env = self

    def get_node(self, node_id: str) -> Any:
        """Return a node of this instance or of one that it depends on."""
        data = self._nodes[node_id]
        relationships = [
            {"type": each["type"], "type_hierarchy": [each["type"]], "target_id": each["node"]["id"]}
            for each in self._relations
        ]
        return Node({**data, "name": data["id"], "number_of_instances": 1, "relationships": relationships})

    def get_node_instance(self, instance_id: str) -> Any:
        """Return this instance or one that it depends on."""
        data = self._instances[instance_id]
        own = instance_id == self._data["instance"]["id"]
        relationships = [
            {
                "type": each["type"],
                "target_id": each["instance"]["id"],
                "target_name": each["node"]["id"],
            }
            for each in self._relations
        ]
        return NodeInstance(
            {
                "id": instance_id,
                "node_id": data["node"]["id"],
                "name": data["node"]["id"],
                "runtime_properties": dict(data["instance"]["runtime_properties"]),
                "state": "started",
                "version": 1,
                "host_id": self._data["instance"]["host_id"] if own else instance_id,
                "relationships": relationships if own else [],
            }
        )

    def update_node_instance(
        self, instance_id: str, runtime_properties: dict[str, Any] | None = None, **_: object
    ) -> None:
        """Save this instance's runtime properties; those of others are not ours to change."""
        if runtime_properties is None or instance_id != self._data["instance"]["id"]:
            return
        before = self._data["instance"]["runtime_properties"]
        removed = [key for key in before if key not in runtime_properties]
        saved = self._link.ask("save", changed=dict(runtime_properties), removed=removed)
        self._data["instance"]["runtime_properties"] = saved

    def get_resource(self, resource_path: str) -> bytes:
        """Return the content of a file next to the blueprint."""
        with open(self._resource(resource_path), "rb") as file:
            return file.read()

    def download_resource(self, resource_path: str, target_path: str | None = None) -> str:
        """Copy a file next to the blueprint."""
        if not target_path:
            target_path = os.path.join(tempfile.mkdtemp(), os.path.basename(resource_path))
        shutil.copyfile(self._resource(resource_path), target_path)
        return target_path

    def get_provider_context(self) -> dict[str, Any]:
        """Return nothing: there is no manager."""
        return {}

    def get_workdir(self) -> str:
        """Return a directory for the plugin's own files."""
        return tempfile.mkdtemp()

    def evaluate_functions(self, payload: Any, context: Any) -> Any:
        """Return *payload*: quiesce has evaluated it."""
        del context
        return payload

    def _resource(self, resource_path: str) -> str:
        root = os.path.realpath(self._data["blueprint_dir"])
        path = os.path.realpath(os.path.join(root, resource_path.lstrip("/")))
        if os.path.commonpath([root, path]) != root:
            raise exceptions.NonRecoverableError(f"{resource_path} is not below the blueprint's directory")
        return path


def main(function: str) -> None:
    """Run *function* and say what it returned or raised."""
    link = connect()
    data: Any = link.ask("context")
    logs.stdout_log_out = _sender(link)
    logs.stdout_event_out = _sender(link)
    context = _context(function, data, link)
    try:
        utils.get_func(function)
    except Exception as error:  # noqa: BLE001  it is not here: nothing was run
        _tell(link, error, began=False)
        return
    try:
        result = dispatch.OperationHandler(context, args=(), kwargs=dict(data["inputs"])).handle()
    except Exception as error:  # noqa: BLE001  whatever it raises is the answer
        _tell(link, getattr(error, "wrapped_exc", error))
    else:
        link.ask("returns", value=result)


def _context(function: str, data: dict[str, Any], link: QuiesceLink) -> dict[str, Any]:
    return {
        "type": "operation",
        "local": True,
        "storage": InstanceStorage(data, link),
        "task_id": data["task_id"],
        "task_name": function,
        "task_target": None,
        "execution_id": data["execution_id"],
        "workflow_id": data["workflow_id"],
        "deployment_id": data["deployment"],
        "blueprint_id": data["blueprint"],
        "node_id": data["instance"]["id"],
        "node_name": data["node"]["id"],
        "host_id": data["instance"]["host_id"],
        "operation": data["operation"],
        "plugin": {"name": data["plugin"]},
        "has_intrinsic_functions": False,
    }


def _sender(link: QuiesceLink) -> Any:
    def send(event: Any, *_: object, **__: object) -> None:
        message = event.get("message") or {}
        link.ask("log", level=event.get("level") or "info", message=str(message.get("text", "")))

    return send


def _tell(link: QuiesceLink, error: BaseException, *, began: bool = True) -> None:
    sys.stderr.write("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    link.ask(
        "raised",
        recoverable=not isinstance(error, exceptions.NonRecoverableError),
        message=str(error) or type(error).__name__,
        kind=type(error).__name__,
        retry_after=getattr(error, "retry_after", None),
        began=began,
    )


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        utils.get_func(sys.argv[2])
    else:
        main(sys.argv[1])
