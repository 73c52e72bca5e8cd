"""Folders, datastores and datacenters: found by name, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quiesce.errors import ResourceNotFoundError, UnsupportedError
from quiesce.providers.vsphere.session.reading import read_all, read_objects
from quiesce.providers.vsphere.session.sdk import id_of, vim
from quiesce.providers.vsphere.session.session import VCenterSession


class VCenterPlaces:
    """Looks up what machines lie in and on."""

    def __init__(self, session: VCenterSession) -> None:
        self._session = session
        self._datacenters: dict[str, str] = {}

    def folder(self, wanted: str) -> Any:
        """Return the folder for machines of that name.

        Raises:
            ResourceNotFoundError: when there is none, or the name means more than one.
        """
        read = read_all(self._session, vim.Folder, ["name", "childType"])
        found = [
            moid
            for moid, values in read.items()
            if values.get("name") == wanted and "VirtualMachine" in (values.get("childType") or ())
        ]
        return self._session.bind(vim.Folder, _the_only("folder", wanted, found))

    def datastore(self, name: str) -> Any:
        """Return the datastore of that name."""
        read = read_all(self._session, vim.Datastore, ["name"])
        found = [moid for moid, values in read.items() if values.get("name") == name]
        return self._session.bind(vim.Datastore, _the_only("datastore", name, found))

    def datastore_type(self, name: str) -> str:
        """Return the API's name of the file system of the datastore of that name."""
        read = read_all(self._session, vim.Datastore, ["name", "summary.type"])
        found = [
            str(values.get("summary.type", "")) for values in read.values() if values.get("name") == name
        ]
        return _the_only("datastore", name, sorted(set(found)))

    def machine_names(self, datacenter: str | None) -> Mapping[str, list[str]]:
        """Return the ids of all machines, by name; of one datacenter when it is named."""
        root = self._datacenter(datacenter) if datacenter else None
        names: dict[str, list[str]] = {}
        for moid, values in read_all(self._session, vim.VirtualMachine, ["name"], root).items():
            names.setdefault(str(values.get("name", "")), []).append(moid)
        return names

    def datacenter_path(self, datastore: str) -> str:
        """Return the inventory path of the datacenter that a datastore belongs to.

        Raises:
            UnsupportedError: when more than one datacenter has a datastore of that name.
        """
        if datastore not in self._datacenters:
            self._datacenters[datastore] = self._find_datacenter_path(datastore)
        return self._datacenters[datastore]

    def free_bytes(self, machine: str) -> int:
        """Return the least free space of the datastores that the machine lies on."""
        read = read_objects(self._session, vim.VirtualMachine, [machine], ["datastore"])
        datastores = [id_of(one) for one in read.get(machine, {}).get("datastore") or ()]
        space = read_objects(self._session, vim.Datastore, datastores, ["summary.freeSpace"])
        return min((int(values["summary.freeSpace"]) for values in space.values()), default=0)

    def _datacenter(self, name: str) -> Any:
        read = read_all(self._session, vim.Datacenter, ["name"])
        found = [moid for moid, values in read.items() if values.get("name") == name]
        return self._session.bind(vim.Datacenter, _the_only("datacenter", name, found))

    def _find_datacenter_path(self, datastore: str) -> str:
        read = read_all(self._session, vim.Datastore, ["name", "parent"])
        parents = [values["parent"] for values in read.values() if values.get("name") == datastore]
        if len(parents) != 1:
            raise UnsupportedError(f"{len(parents)} datastores are called {datastore!r}")
        return self._path_above(parents[0])

    def _path_above(self, found: Any) -> str:
        """Return the path of the datacenter that *found* lies in, without the root folder."""
        names: list[str] = []
        inside = False
        while found is not None:
            values = read_objects(self._session, type(found), [id_of(found)], ["name", "parent"])[
                id_of(found)
            ]
            inside = inside or isinstance(found, vim.Datacenter)
            if inside and values.get("parent") is not None:
                names.append(str(values["name"]))
            found = values.get("parent")
        return "/".join(reversed(names))


def _the_only(kind: str, name: str, found: list[str]) -> str:
    if len(found) == 1:
        return found[0]
    hint = "Give its managed object id instead." if found else "Check vsphere_folder and vsphere_datastore."
    raise ResourceNotFoundError(f"{len(found) or 'no'} {kind}s are called {name!r}", hint=hint)
