"""What platforms answer: Compute Engine, OpenStack, vSphere; and what a guest's agent does.

Each is fed below our own code's seam to the network, so that the SDKs parse it too.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final
from unittest import mock

from quiesce.errors import QuiesceError
from quiesce.provider_kit.artifact import read_artifact
from quiesce.provider_kit.deadline import Deadline
from tests.fuzz.parsing import Parser, Silent

_ID: Final = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"


def _unhurried() -> Deadline:
    return Deadline(_Unhurried(), sleep=lambda _: None)  # type: ignore[arg-type]


class _Unhurried(Silent):
    def given_up(self) -> bool:
        return False


# -- Compute Engine --

_URL: Final = "https://www.googleapis.com/compute/v1/projects/p"
GCE: Final = tuple(
    json.dumps(answer).encode()
    for answer in (
        {
            "id": "7", "name": "vm", "selfLink": f"{_URL}/zones/z-a/instances/vm", "status": "RUNNING",
            "machineType": f"{_URL}/zones/z-a/machineTypes/e2-small", "labels": {"a": "b"},
            "disks": [{
                "deviceName": "d", "source": f"{_URL}/zones/z-a/disks/d", "boot": True, "autoDelete": True,
                "mode": "READ_WRITE", "diskSizeGb": "10", "interface": "SCSI", "type": "PERSISTENT",
            }, {"type": "SCRATCH", "diskSizeGb": "375", "interface": "NVME"}],
            "networkInterfaces": [{"network": "n", "subnetwork": "s"}], "tags": {"items": ["t"]},
            "guestAccelerators": [{"acceleratorCount": 1}], "lastStartTimestamp": "2026-01-01T00:00:00Z",
            "confidentialInstanceConfig": {"enableConfidentialCompute": False},
        },
        {
            "id": "8", "name": "d", "selfLink": f"{_URL}/zones/z-a/disks/d", "status": "READY", "sizeGb": "10",
            "type": f"{_URL}/zones/z-a/diskTypes/pd-ssd", "users": [f"{_URL}/zones/z-a/instances/vm"],
            "replicaZones": [], "diskEncryptionKey": {"sha256": ""}, "provisionedIops": "3",
        },
        {
            "id": "9", "name": "s", "selfLink": f"{_URL}/global/snapshots/s", "status": "READY",
            "diskSizeGb": "10", "storageBytes": "99", "sourceDisk": f"{_URL}/zones/z-a/disks/d",
            "labels": {"quiesce-point": "one"},
        },
        {"items": [{"id": "9", "selfLink": f"{_URL}/global/snapshots/s", "status": "READY"}], "kind": "x"},
        {"items": {"zones/z-a": {"disks": [{"selfLink": f"{_URL}/zones/z-a/disks/d"}]}}},
        {"name": "operation-1", "status": "DONE", "zone": "z-a", "httpErrorStatusCode": 409,
         "error": {"errors": [{"code": "RESOURCE_IN_USE", "message": "busy"}]}},
        {"error": {"code": 404, "message": "no", "errors": [{"reason": "notFound", "message": "no"}]}},
        {"quotas": [{"metric": "DISKS_TOTAL_GB", "limit": 10.5, "usage": 1}], "permissions": ["a.b"]},
    )
)  # fmt: skip


@functools.cache
def _compute() -> tuple[Any, Any]:
    """Return Compute Engine's client behind a network on which one answer is given to every request."""
    import requests
    from requests.adapters import BaseAdapter

    from quiesce.providers.gcp.account import Login
    from quiesce.providers.gcp.client import Compute, GcpConnection

    class Network(BaseAdapter):
        answer = (200, b"")

        def send(self, request: Any, **_: Any) -> requests.Response:  # type: ignore[override]
            made = requests.Response()
            made.status_code, made.raw = self.answer[0], io.BytesIO(self.answer[1])
            made.request, made.url = request, request.url
            made.headers["Retry-After"] = self.answer[1][:3].decode("latin-1")
            return made

        def close(self) -> None:
            pass

    network = Network()

    class Connection(GcpConnection):
        def _made(self, name: str) -> Any:
            client = super()._made(name)
            client.transport._session.mount("http://", network)
            return client

    connection = Connection(Login(endpoint="http://localhost:1"))
    return Compute(connection, _unhurried()), network


def _parse_gce(data: bytes) -> None:
    from quiesce.providers.gcp import references

    compute, network = _compute()
    zone = references.Location(project="p", scope="zones/z-a", collection=references.DISKS)
    snapshots = zone.beside(references.SNAPSHOTS, "global")
    operation = zone.beside("operations").named("operation-1")
    machine = zone.beside(references.MACHINES).named("vm")
    network.answer = (200, data)
    for ask in (
        lambda: compute.machine(machine),
        lambda: compute.disk(zone.named("d")),
        lambda: compute.copy(snapshots.named("s")),
        lambda: compute.copies(snapshots),
        lambda: compute.everywhere("p", "DisksClient", lambda found: found.self_link),
        lambda: compute.failure(operation),
        lambda: compute.delete(zone.named("d")),
        lambda: compute.quotas("p", "r"),
        lambda: compute.permitted(zone.named("d"), ["a.b"]),
    ):
        with contextlib.suppress(QuiesceError):
            ask()
    network.answer = (404, data)
    with contextlib.suppress(QuiesceError):
        compute.disk(zone.named("d"))


# -- OpenStack --

OPENSTACK: Final = tuple(
    json.dumps(answer).encode()
    for answer in (
        {"server": {
            "id": _ID, "name": "vm", "status": "ACTIVE", "OS-EXT-STS:task_state": None, "image": {"id": _ID},
            "os-extended-volumes:volumes_attached": [{"id": _ID}], "metadata": {"a": "b"},
            "flavor": {"vcpus": 1}, "fault": {"message": "m"}, "OS-SRV-USG:launched_at": "2026-01-01",
        }},
        {"servers": [{"id": _ID, "image": ""}], "servers_links": [{"rel": "self", "href": "http://a?marker=1"}]},
        {"volume": {
            "id": _ID, "size": 3, "status": "in-use", "bootable": "true", "volume_type": "t",
            "attachments": [{"server_id": _ID, "device": "/dev/vda"}], "volume_image_metadata": {"a": "b"},
        }},
        {"snapshot": {"id": _ID, "size": 3, "volume_id": _ID, "created_at": "2026", "metadata": {"a": "b"}}},
        {"backup": {"id": _ID, "size": 3, "is_incremental": True, "has_dependent_backups": False}},
        {"id": _ID, "size": 9, "os_hash_value": "00", "os_hash_algo": "sha512", "protected": False,
         "block_device_mapping": '[{"snapshot_id": "s", "boot_index": 0}]'},
        {"images": [{"id": _ID, "block_device_mapping": "[]"}], "first": "/v2/images"},
        {"ports": [{"id": _ID, "device_owner": "network:router_interface", "fixed_ips": [{"subnet_id": "s"}]}]},
        {"security_group": {"id": _ID, "name": "g", "security_group_rules": [
            {"direction": "ingress", "remote_ip_prefix": "::/0", "protocol": "tcp", "port_range_min": 1}]}},
        {"security_group_rules": [{"id": _ID, "direction": "ingress", "remote_group_id": "g"}]},
        {"router": {"id": _ID, "routes": [], "external_gateway_info": {"network_id": "n"}}},
        {"limits": {"absolute": {"maxTotalVolumeGigabytes": 1000, "totalGigabytesUsed": 3}}},
        {"itemNotFound": {"code": 404, "message": "no"}},
    )
)  # fmt: skip


class _AnyClient:
    """Answers every request with the same body, read as the real client reads it."""

    def __init__(self, answer: Any) -> None:
        self.calls: Counter[str] = Counter()
        self._answer = answer
        self.project_id = "p"

    def request(self, *_: Any, **__: Any) -> dict[str, Any]:
        from quiesce.providers.openstack import client

        return client._body(self._answer)


def _response(status: int, data: bytes) -> Any:
    import requests

    made = requests.Response()
    made.status_code, made._content, made.encoding = status, data, "utf-8"
    made.headers["Retry-After"] = data[:3].decode("latin-1")
    return made


def _parse_openstack(data: bytes) -> None:
    from quiesce.providers.openstack import client
    from quiesce.providers.openstack.cloud import Cloud
    from quiesce.providers.openstack.errors import error_of
    from quiesce.providers.openstack.network import definition, rules

    refused = _response(409, data)
    str(error_of(409, client._message(refused), asked="x", retry_after_s=client._retry_after(refused)))
    cloud = Cloud(_AnyClient(_response(200, data)))  # type: ignore[arg-type]
    for ask in (
        cloud.servers, cloud.volumes, cloud.snapshots, cloud.group_snapshots, cloud.backups, cloud.images,
        *(functools.partial(one, _ID) for one in (
            cloud.server, cloud.volume, cloud.snapshot, cloud.group_snapshot, cloud.specs_of_group,
            cloud.backup, cloud.image, cloud.diagnostics,
        )),
        lambda: cloud.limits(client.Service.VOLUME),
        lambda: cloud.create_snapshot(_ID, "n", {}),
        lambda: cloud.create_server_image(_ID, "n", {}),
        lambda: cloud.create_group_snapshot(_ID, "n", "d"),
        lambda: rules.change_rules(mock.Mock(network_objects=cloud.network_objects), _ID, []),
    ):  # fmt: skip
        with contextlib.suppress(QuiesceError):
            ask()  # type: ignore[operator]
    for sort in definition.SORTS.values():
        with contextlib.suppress(QuiesceError):
            for found in cloud.network_objects(sort.collection):
                list(definition.definition_of(cloud, sort, found).differences(_nothing(sort.collection)))
        with contextlib.suppress(QuiesceError):
            if found := cloud.network_object(sort.collection, _ID):
                definition.definition_of(cloud, sort, found)


def _nothing(collection: str) -> Any:
    from quiesce.providers.openstack.network.definition import NetworkDefinition

    return NetworkDefinition(collection=collection, id=_ID, fields={}, rules=[], subnets=[])


# -- vSphere --

_SOAP: Final = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope'
    ' xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soapenv:Body>%s</soapenv:Body></soapenv:Envelope>'
)
_MACHINE: Final = """\
<RetrievePropertiesExResponse xmlns="urn:vim25"><returnval><objects><obj type="VirtualMachine">vm-1</obj>
<propSet><name>name</name><val xsi:type="xsd:string">vm</val></propSet>
<propSet><name>parent</name><val type="Folder" xsi:type="ManagedObjectReference">group-1</val></propSet>
<propSet><name>runtime.powerState</name><val xsi:type="VirtualMachinePowerState">poweredOn</val></propSet>
<propSet><name>config.template</name><val xsi:type="xsd:boolean">false</val></propSet>
<propSet><name>config.extraConfig</name><val xsi:type="ArrayOfOptionValue"><OptionValue xsi:type="OptionValue">
<key>quiesce.state</key><value xsi:type="xsd:string">ready</value></OptionValue></val></propSet>
<propSet><name>snapshot</name><val xsi:type="VirtualMachineSnapshotInfo">
<currentSnapshot type="VirtualMachineSnapshot">snapshot-1</currentSnapshot><rootSnapshotList>
<snapshot type="VirtualMachineSnapshot">snapshot-1</snapshot><vm type="VirtualMachine">vm-1</vm><name>s</name>
<description>made by quiesce {"point": "one"}</description><id>1</id>
<createTime>2026-01-01T00:00:00Z</createTime><state>poweredOn</state><quiesced>false</quiesced>
</rootSnapshotList></val></propSet>
<propSet><name>config.hardware</name><val xsi:type="VirtualHardware"><numCPU>1</numCPU><memoryMB>64</memoryMB>
<device xsi:type="VirtualLsiLogicController"><key>1000</key><busNumber>0</busNumber>
<sharedBus>noSharing</sharedBus></device>
<device xsi:type="VirtualDisk"><key>2000</key><deviceInfo><label>Hard disk 1</label><summary>s</summary></deviceInfo>
<backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>[ds] vm/vm.vmdk</fileName>
<diskMode>persistent</diskMode><changeId>52 1/1</changeId></backing><controllerKey>1000</controllerKey>
<unitNumber>0</unitNumber><capacityInKB>1024</capacityInKB><capacityInBytes>1048576</capacityInBytes></device>
<device xsi:type="VirtualVmxnet3"><key>4000</key><macAddress>00:50:56:00:00:01</macAddress></device>
</val></propSet>
<propSet><name>summary.quickStats</name><val xsi:type="VirtualMachineQuickStats">
<overallCpuUsage>1</overallCpuUsage></val></propSet>
<missingSet><path>guest</path><fault><fault xsi:type="NoPermission"><object type="Folder">g</object>
<privilegeId>System.View</privilegeId></fault><localizedMessage>no</localizedMessage></fault></missingSet>
</objects></returnval></RetrievePropertiesExResponse>"""
_FAULT: Final = """\
<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>busy</faultstring><detail>
<TaskInProgressFault xmlns="urn:vim25" xsi:type="TaskInProgress"><task type="Task">task-1</task>
</TaskInProgressFault></detail></soapenv:Fault>"""
_CHANGED: Final = """\
<QueryChangedDiskAreasResponse xmlns="urn:vim25"><returnval><startOffset>0</startOffset><length>65536</length>
<changedArea><start>0</start><length>65536</length></changedArea></returnval></QueryChangedDiskAreasResponse>"""
VSPHERE: Final = tuple((_SOAP % body).encode() for body in (_MACHINE, _FAULT, _CHANGED))


class _Answer:
    """One connection and its one answer, as the SDK uses them."""

    def __init__(self, status: int, data: bytes) -> None:
        self.status, self.reason = status, "Said"
        self._data = io.BytesIO(data)
        self.sock = None

    def request(self, *_: Any) -> None:
        pass

    def getresponse(self) -> _Answer:
        return self

    def getheader(self, _: str, default: Any = None) -> Any:
        return default

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)

    def close(self) -> None:
        pass


@functools.cache
def _vsphere() -> Any:
    """Return a client whose session is logged in to a vCenter that answers what it is told to."""
    from quiesce.providers.vsphere.client import VSphereClient
    from quiesce.providers.vsphere.endpoint import VCenterEndpoint
    from quiesce.providers.vsphere.session import session as sessions
    from quiesce.providers.vsphere.session.sdk import vim, vmodl

    client = VSphereClient(VCenterEndpoint(host="h", username="u", password="p"))
    session = client._session
    sessions.UnhurriedContext = lambda _: _Unhurried()  # type: ignore[attr-defined,misc,assignment]
    sessions.Deadline = functools.partial(Deadline, sleep=lambda _: None)  # type: ignore[attr-defined,misc]
    stub = session._stub
    session._content = mock.Mock(
        propertyCollector=vmodl.query.PropertyCollector("propertyCollector", stub),
        sessionManager=vim.SessionManager("SessionManager", stub),
    )
    return client


def _parse_vsphere(data: bytes) -> None:
    from quiesce.providers.vsphere import ownership

    client = _vsphere()
    stub = client._session._stub
    disk = mock.Mock(layered=False, key=2000, capacity_bytes=1 << 20)
    for status in (200, 500):
        stub.GetConnection = lambda status=status: _Answer(status, data)
        stub.ReturnConnection = stub.DropConnections = lambda *_: None
        for ask in (
            lambda: client._read_machines(frozenset({"vm-1"})),
            lambda: client._read_figures(frozenset({"vm-1"})),
            lambda: client.disks_at("vm-1"),
            lambda: client.changed("vm-1", "snapshot-1", disk, "*"),
        ):
            with contextlib.suppress(QuiesceError):
                found = ask()
                for machine in found.values() if isinstance(found, Mapping) else ():
                    for snapshot in getattr(machine, "snapshots", ()):
                        ownership.owner_of_snapshot(snapshot)


# -- guests --

GUEST: Final = (
    b'{"return": "thawed"}', b'{"return": 3}', b'{"return": {"pid": 17}}', b'{"error": {"class": "C", "desc": "d"}}',
)  # fmt: skip


def _parse_guest(data: bytes) -> None:
    """The agent of a guest may answer anything, and a frozen one must be thawed all the same."""
    from quiesce.providers.libvirt import client
    from quiesce.providers.libvirt.domain import agent

    made = client.Domain.__new__(client.Domain)
    made._handle, made.name = mock.Mock(), "vm"  # type: ignore[misc]
    text = data.decode(errors="replace")
    with mock.patch.object(client.libvirt_qemu, "qemuAgentCommand", return_value=text):
        for ask in (
            lambda: agent._status(made, 1.0),
            lambda: agent._ask_to_freeze(made, ["/"], 1.0),
            lambda: agent._thaw_once(made, 1.0),
            lambda: agent._arm(made, 3.0),
        ):
            with contextlib.suppress(QuiesceError):
                ask()


# -- what a restore point keeps of them --

_DISK: Final = f"{_URL}/zones/z-a/disks/d"
ARTIFACTS: Final = tuple(
    json.dumps(artifact).encode()
    for artifact in (
        {"copies": [{"reference": f"{_URL}/global/snapshots/s", "id": "9", "disks": [
            {"disk": _DISK, "disk_id": "8", "size_gb": 10, "type": "pd-ssd"}]}], "machine": None},
        {"server": _ID, "image": _ID, "volumes": [{"volume": _ID, "size_gib": 3, "snapshot": _ID}]},
        {"volume": _ID, "size_gib": 3, "backup": _ID, "builds_on": ["one"]},
        {"objects": ["s"], "machine": "vm-1", "uuid": _ID, "name": "vm", "snapshot": "snapshot-1",
         "snapshot_name": "s", "power": "on", "left_out": ["Hard disk 2"]},
        {"collection": "networks", "id": _ID, "fields": {"mtu": 1500}},
    )
)  # fmt: skip


@functools.cache
def _artifact_kinds() -> tuple[type[Any], ...]:
    """Return those whose platform's package is installed."""
    found = []
    for module, *names in (
        ("gcp.copy.artifact", "CopySet"),
        ("openstack.server.content", "ServerContent", "VolumeContent"),
        ("openstack.network.definition", "NetworkDefinition"),
        ("vsphere.machine.artifact", "SnapshotArtifact", "BackupArtifact", "ReplacedDisks"),
    ):
        with contextlib.suppress(ImportError):
            loaded = importlib.import_module(f"quiesce.providers.{module}")
            found += [getattr(loaded, name) for name in names]
    return tuple(found)


def _parse_artifact(data: bytes) -> None:
    try:
        artifact = json.loads(data)
    except (ValueError, RecursionError):
        return
    for kind in _artifact_kinds():
        with contextlib.suppress(QuiesceError):
            read_artifact(kind, artifact)


PARSERS: Final = {
    "gce-answer": Parser(seeds=GCE, parse=_parse_gce, needs="google.cloud.compute_v1"),
    "openstack-answer": Parser(seeds=OPENSTACK, parse=_parse_openstack, needs="openstack"),
    "vsphere-answer": Parser(seeds=VSPHERE, parse=_parse_vsphere, needs="pyVmomi"),
    "guest-agent": Parser(seeds=GUEST, parse=_parse_guest, needs="libvirt"),
    "cloud-artifact": Parser(seeds=ARTIFACTS, parse=_parse_artifact),
}
