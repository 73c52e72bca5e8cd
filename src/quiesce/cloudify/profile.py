"""cfy's local profile, remembered: its files may be removed or half written while something is frozen.

`cfy uninstall` removes a deployment's files under a workflow that runs; a cfy that is killed may leave the
file of a node instance half written. And Cloudify reads a deployment's file anew for each node of each
operation, which takes longer than the operations themselves where there are hundreds of nodes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from cloudify.workflows import local

#: how many files are kept open, so that what they hold can be read once they are removed
_MOST_OPEN: Final = 256


@contextmanager
def keeping_profile(context: Any) -> Iterator[None]:
    """Let *context* (a workflow's ``ctx``) go on when its deployment is removed from cfy's local profile."""
    root = profile_of(context)
    if root is None:
        yield
        return
    handler = context.internal.handler
    before = handler.storage
    with closing(kept_deployment(root, context.deployment.id)) as handler.storage:
        yield
    handler.storage = before


def profile_of(context: Any) -> str | None:
    """Return where cfy's local profile is; None on a manager, and of a deployment that is kept in memory."""
    storage = context.internal.handler.storage._storage if context.local else None  # noqa: SLF001  no other way
    if not isinstance(storage, local.FileStorage):
        return None
    return str(Path(storage._root_storage_dir).absolute())  # noqa: SLF001  no other way


def kept_deployment(root: str, name: str, *, instances_open: bool = False) -> KeptDeployment:
    """Return the storage of deployment *name* in the profile at *root*.

    With *instances_open* what another process writes of the node instances is known after their removal too.
    """
    deployment = KeptDeployment(_KeptProfile(root, name, instances_open=instances_open), name)
    local._Environment(deployment)  # noqa: SLF001  evaluates functions by this storage
    return deployment


class KeptDeployment(local.DeploymentStorage):  # type: ignore[misc]  # Cloudify has no types
    """What Cloudify's operations read and write of their deployment."""

    def __init__(self, profile: _KeptProfile, name: str) -> None:
        super().__init__(profile, profile.get_deployment(name))
        self._profile = profile

    def get_resource(self, resource_path: str) -> bytes:
        """Return a file of the blueprint."""
        return self._profile.resource(resource_path)

    def mend(self) -> None:
        """Put back node instances that are half written: without them cfy does not work any more."""
        self._profile.mend()

    def close(self) -> None:
        """Forget what removed files held."""
        self._profile.close()


class _KeptProfile(local.FileStorage):  # type: ignore[misc]  # Cloudify has no types
    """The files of one deployment; what a removed one held is remembered, and it is not written anew."""

    def __init__(self, root: str, name: str, *, instances_open: bool) -> None:
        super().__init__(storage_dir=root)
        self._name = name
        self._deployment = super().get_deployment(name)
        self._blueprint = super().get_blueprint(self._deployment["blueprint_id"])
        self._resources = Path(self._root_storage_dir, "blueprints", self._blueprint["id"], "resources")
        self._instances = {each: super(_KeptProfile, self).load_instance(name, each) for each in self._ids()}
        instances = map(self._file_of, self._instances) if instances_open else ()
        self._files = _OpenFiles(chain(self._resources_by_need(), instances))

    # -- what Cloudify asks -------------------------------------------------------------------------------

    def get_deployment(self, name: str) -> Any:
        """Return what the blueprint makes of deployment *name*."""
        return self._deployment if name == self._name else super().get_deployment(name)

    def get_blueprint(self, name: str) -> Any:
        """Return blueprint *name*."""
        return self._blueprint if name == self._blueprint["id"] else super().get_blueprint(name)

    def set_deployment_attributes(self, name: str, **attributes: Any) -> None:
        """Change deployment *name*."""
        super().set_deployment_attributes(name, **attributes)
        self._deployment = super().get_deployment(self._name)

    def load_instance(self, deployment: str, instance: str) -> Any:
        """Return a node instance as it is kept; one whose file is removed or half written, as it was."""
        kept = self._instances.get(instance)
        try:
            content = json.loads(self._files.read(self._file_of(instance)), object_hook=local.load_datetime)
        except (FileNotFoundError, ValueError):
            if kept is None:
                raise
            return kept
        loaded = local.NodeInstance(content)
        if deployment == self._name:
            self._instances[instance] = loaded
        return loaded

    def store_instance(self, deployment: str, instance: Any) -> Any:
        """Keep a node instance; one whose file was removed in memory only: a file would be another's."""
        removed = instance["id"] in self._instances and not self._file_of(instance["id"]).exists()
        self._instances[instance["id"]] = instance
        return local.NodeInstance(instance) if removed else super().store_instance(deployment, instance)

    def get_node_instances(self, deployment_id: str, node_id: str | None = None) -> list[Any]:
        """Return the node instances, or those of one node."""
        loaded = [self.load_instance(deployment_id, each) for each in list(self._instances)]
        return [each for each in loaded if node_id is None or each.node_id == node_id]

    # -- what we ask --------------------------------------------------------------------------------------

    def resource(self, path: str) -> bytes:
        """Return a file of the blueprint."""
        return self._files.read(self._resources / path)

    def mend(self) -> None:
        """Put back node instances that are half written."""
        for name, instance in self._instances.items():
            path = self._file_of(name)
            with suppress(OSError):  # no other file beside it: cfy takes each for an instance
                if not _is_whole(path.read_bytes()):
                    path.write_text(json.dumps(instance, cls=local.JSONEncoderWithDatetime))

    def close(self) -> None:
        """Forget what removed files held."""
        self._files.close()

    def _ids(self) -> Iterable[str]:
        return local.FileStorage._instance_ids(self, self._name)  # type: ignore[no-any-return]  # noqa: SLF001

    def _file_of(self, instance: str) -> Path:
        return Path(self._instance_path(self._name, instance))

    def _resources_by_need(self) -> Iterable[Path]:
        """Return the blueprint's files, first those that operations name, then the small ones."""
        named = set(_texts(self._deployment["nodes"].values()))
        sizes = {path: path.stat().st_size for path in self._resources.rglob("*") if path.is_file()}

        def need(path: Path) -> tuple[bool, int]:
            return str(path.relative_to(self._resources)) not in named, sizes[path]

        return sorted(sizes, key=need)


class _OpenFiles:
    """Files that can be read when they are removed."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._open: dict[Path, int] = {}
        for path in islice(paths, _MOST_OPEN):
            with suppress(OSError):  # no more can be open; they are read as long as they are there
                self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, path: Path) -> bytes:
        """Return what the file holds, or held last."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if path not in self._open:
                raise
            descriptor = self._open[path]
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def close(self) -> None:
        """Read them no more than others."""
        while self._open:
            os.close(self._open.popitem()[1])


def _is_whole(content: bytes) -> bool:
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def _texts(nodes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for node in nodes:
        for operation in node["operations"].values():
            yield from (each for each in (operation.get("inputs") or {}).values() if isinstance(each, str))
