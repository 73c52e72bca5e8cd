"""What the vCenter simulator answers, judged by the description of the API that comes with VMware's SDK.

pyVmomi's tables are generated from the API itself; the simulator is govmomi's. Each property that the
provider reads is found by watching it read. Printed with ``-s``: what the simulator leaves out.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quiesce.errors import ProviderError
from quiesce.model.operation import Operation
from quiesce.testing import RecordingContext

pytestmark = pytest.mark.platform("vcenter")

lab = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "labs" / "vcenter" / "lab.py")))

#: the methods by which the provider changes something, with their owners
METHODS = (
    ("VirtualMachine", "CreateSnapshotEx_Task"),
    ("VirtualMachine", "CreateSnapshot_Task"),
    ("VirtualMachine", "PowerOnVM_Task"),
    ("VirtualMachine", "PowerOffVM_Task"),
    ("VirtualMachine", "SuspendVM_Task"),
    ("VirtualMachine", "ReconfigVM_Task"),
    ("VirtualMachine", "CloneVM_Task"),
    ("VirtualMachine", "QueryChangedDiskAreas"),
    ("ManagedEntity", "Rename_Task"),
    ("ManagedEntity", "Destroy_Task"),
    ("vm.Snapshot", "RevertToSnapshot_Task"),
    ("vm.Snapshot", "RemoveSnapshot_Task"),
    ("vm.Snapshot", "ExportSnapshot"),
    ("ResourcePool", "ImportVApp"),
)
#: a data object's type, and one of its properties
Read = tuple[str, str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    lab.require()
    directory = tmp_path_factory.mktemp("site")
    (directory / "lab").mkdir()
    with lab.Lab(directory / "lab", machines=1, task_delay="5ms") as simulator:
        site = lab.Site(simulator, directory)
        simulator.tools_run(site.machine)
        yield site
        site.close()


class Watch:
    """Notes every property of the API's data objects that our own code reads."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        from pyVmomi import VmomiSupport

        self.read: dict[Read, Any] = {}
        #: (type, property) to be as good as unset
        self.unset: Read | None = None
        plain = VmomiSupport.DataObject.__getattribute__

        def get(thing: Any, name: str) -> Any:
            caller = sys._getframe(1).f_globals.get("__name__", "")
            ours = caller.startswith("quiesce.providers.vsphere") and not name.startswith("_")
            info = _property(type(thing), name) if ours else None
            if info is None:
                return plain(thing, name)
            key = (type(thing).__name__, name)
            value = plain(thing, name)
            self.read.setdefault(key, (info, value))
            if key == self.unset:
                return [] if isinstance(value, list) else None
            return value

        patch.setattr(VmomiSupport.DataObject, "__getattribute__", get)


def _property(kind: Any, name: str) -> Any:
    try:
        return kind._GetPropertyInfo(name)
    except AttributeError:
        return None


def _is_optional(info: Any) -> bool:
    from pyVmomi import VmomiSupport

    return bool(info.flags & VmomiSupport.F_OPTIONAL)


def _paths() -> list[tuple[str, Any, bool]]:
    """Return each path that is asked of a machine: its declared type, and whether it may be unset."""
    from pyVmomi import vim

    from quiesce.providers.vsphere.session import reading

    found = []
    for path in sorted({*reading.MACHINE, *reading.FIGURES, *reading.ATTRIBUTES}):
        kind, optional = vim.VirtualMachine, False
        for name in path.split("."):
            info = kind._GetPropertyInfo(name)
            kind, optional = info.type, optional or _is_optional(info)
        found.append((path, kind, optional))
    return found


def _values(site: Any) -> dict[str, Any]:
    from pyVmomi import vim, vmodl

    query = vmodl.query.PropertyCollector
    machine = site.simulator.machine(site.machine)
    spec = query.FilterSpec(
        objectSet=[query.ObjectSpec(obj=machine)],
        propSet=[query.PropertySpec(type=vim.VirtualMachine, pathSet=[path for path, _, _ in _paths()])],
    )
    (found,) = site.simulator.content.propertyCollector.RetrieveContents([spec])
    return {one.name: one.val for one in found.propSet}


def test_each_path_that_is_asked_for_is_there_with_its_declared_type(site: Any) -> None:
    values, missing, left_out = _values(site), [], []
    for path, kind, optional in _paths():
        if path not in values:
            (left_out if optional else missing).append(path)
        else:
            empty = isinstance(values[path], list) and not values[path]  # of no type of its own
            assert empty or isinstance(values[path], kind), (path, kind, type(values[path]))
    print(f"{len(values)} of {len(_paths())} paths answered; optional, never: {', '.join(left_out)}")
    assert missing == []


def test_what_the_provider_reads_is_declared_and_what_may_be_unset_may(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vCenter need not answer what the API calls optional: without it a machine is read all the same."""
    from quiesce.providers.vsphere.session import reading

    site.perform(Operation.SNAPSHOT, full=False)
    values = _values(site)
    with monkeypatch.context() as patch:
        watch = Watch(patch)
        whole = reading.machine_of(site.machine, values, False)
        reading.figures_of(values)
        reading.attributes_of(values)
        read = dict(watch.read)
        broken = [f"{kind}.{name} is required, and unset" for (kind, name), (info, value) in read.items()
                  if not _is_optional(info) and value is None]  # fmt: skip
        optional = [key for key, (info, _) in read.items() if _is_optional(info)]
        for key in optional:
            watch.unset = key
            try:
                reading.machine_of(site.machine, values, False)
                reading.figures_of(values)
                reading.attributes_of(values)
            except ProviderError as error:
                broken.append(f"{key[0]}.{key[1]} unset: {error}")
        watch.unset = None
    for path in [path for path, _, may in _paths() if may]:
        reading.machine_of(site.machine, {k: v for k, v in values.items() if k != path}, False)
        reading.figures_of({k: v for k, v in values.items() if k != path})
    never = sorted(
        f"{kind}.{name}"
        for (kind, name), (_, value) in read.items()
        if value is None or (isinstance(value, list) and not value)
    )
    print(f"{len(read)} properties read, {len(optional)} of them optional; the simulator never sets: {never}")
    assert broken == []
    assert whole.disks
    assert len(read) > 40


def _declared(owner: str, method: str) -> list[str]:
    """Return the faults that the API declares for a method, by their last names."""
    from pyVmomi import vim

    kind: Any = vim
    for part in owner.split("."):
        kind = getattr(kind, part)
    (info,) = (one for one in kind._methodInfo.values() if one.wsdlName == method)
    return [fault.rpartition(".")[2] for fault in info.faults]


def _call(site: Any, owner: str, method: str) -> Any:
    from pyVmomi import vim

    machine = site.simulator.machine(site.machine)
    stub = machine._stub
    target = {
        "vm.Snapshot": lambda: vim.vm.Snapshot(machine.snapshot.currentSnapshot._moId, stub),
        "ResourcePool": lambda: machine.resourcePool,
    }.get(owner, lambda: machine)()
    arguments: dict[str, tuple[Any, ...]] = {
        "CreateSnapshotEx_Task": ("n", "d", False, None),
        "CreateSnapshot_Task": ("n", "d", False, False),
        "PowerOnVM_Task": (),
        "ReconfigVM_Task": (vim.vm.ConfigSpec(),),
        "CloneVM_Task": (
            machine.parent,
            "n",
            vim.vm.CloneSpec(location=vim.vm.RelocateSpec(), powerOn=False, template=False),
        ),
        "QueryChangedDiskAreas": (None, 2000, 0, "*"),
        "Rename_Task": ("n",),
        "RemoveSnapshot_Task": (False, True),
        "ImportVApp": (vim.vm.VmImportSpec(configSpec=vim.vm.ConfigSpec(name="n")), machine.parent),
    }
    return getattr(target, method)(*arguments.get(method, ()))


@pytest.mark.parametrize(("owner", "method"), METHODS, ids=[method for _, method in METHODS])
def test_each_declared_fault_can_be_raised_and_is_told_apart(site: Any, owner: str, method: str) -> None:
    from pyVmomi import vmodl

    from quiesce.providers.vsphere.errors import of_fault

    if owner == "vm.Snapshot" and site.simulator.machine(site.machine).snapshot is None:
        site.perform(Operation.SNAPSHOT, full=False)
    told = []
    for fault in _declared(owner, method):
        # the simulator's library knows the older of the two methods for snapshots only, and is asked for it
        site.simulator.inject(method=method.replace("Ex_Task", "_Task"), kind="fault", fault=fault)
        with pytest.raises(vmodl.MethodFault) as caught:
            _call(site, owner, method)
        site.simulator.heal()
        assert type(caught.value).__name__.rpartition(".")[2] == fault
        error = of_fault(caught.value, "try it")
        told.append(f"{fault} -> {error.code}")
        assert fault in str(error)
    print(f"{method}: " + ", ".join(told))
    assert told


def test_a_whole_life_is_understood_by_the_sdk(site: Any) -> None:
    """The SDK refuses an answer whose types are not the declared ones."""
    artifact = site.backup().artifact
    site.perform(Operation.APPLY, artifact=artifact)
    site.perform(Operation.MEASURE)
    assert list(site.provider.doctor(site.call(Operation.SNAPSHOT), RecordingContext()))
