"""Every parser of what others write: good inputs to begin with, and one call that parses bytes.

A parser may return or raise `QuiesceError`, nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from unittest import mock

from quiesce.app.masking import Masking
from quiesce.backups import BackupKey, Manifest
from quiesce.backups import draft as drafts
from quiesce.blueprint.loader import load_blueprint
from quiesce.blueprint.reading.sources import ImportPolicy
from quiesce.errors import QuiesceError
from quiesce.files.descriptors import DIRECTORY
from quiesce.files.mounts import parse_mounts
from quiesce.isolation.answers import ContextAnswers
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId
from quiesce.providers.gcp.account import account_of
from quiesce.providers.host import cuts, process, tree_copies
from quiesce.providers.host.options import HostOptions
from quiesce.providers.libvirt.domain import domain_xml
from quiesce.providers.terminal.auth import Reactions, TerminalAuth
from quiesce.providers.terminal.calls import Response, TerminalCall
from quiesce.providers.terminal.dialogue import Dialogue
from quiesce.providers.vsphere import vmdk
from quiesce.reports.escaping import escaped_json, printable, printable_block
from quiesce.repository import Point
from quiesce.stores import manifests
from tests.fuzz import cloud, operators, repositories
from tests.fuzz.parsing import Parser, Silent, scratch
from tests.unit.provider_kit.calls import a_call
from tests.unit.stores.test_manifests import MANIFEST

_PLACE: Final = BackupKey(
    deployment=DeploymentName("shop"), point=BackupName("one"), instance=InstanceId("vm_1")
)
SECRET: Final = "vermilion/quokka+0451"


# -- blueprints --

BLUEPRINT: Final = b"""\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
inputs: {path: {type: string, default: /srv, constraints: [{pattern: "/[a-z]+"}]}, count: {default: 2}}
dsl_definitions: {shared: &shared {path: {get_input: path}}}
data_types: {pair: {properties: {one: {type: string}, two: {type: integer, default: 3}}}}
node_types: {my.Disk: {derived_from: quiesce.nodes.host.Directory, properties: {pair: {type: pair, default: {one: a}}}}}
node_templates:
  data: {type: my.Disk, properties: *shared, instances: {deploy: 2}}
  app:
    type: cloudify.nodes.Root
    interfaces:
      cloudify.interfaces.snapshot: {create: {implementation: run.sh, inputs: {word: {get_secret: word}}}}
    relationships: [{type: cloudify.relationships.contained_in, target: data}]
groups: {g: {members: [data]}}
policies: {p: {type: cloudify.policies.scaling, targets: [g], properties: {default_instances: 2}}}
outputs: {all: {value: {concat: [a, {get_property: [data, path]}]}}}
"""


def _parse_blueprint(data: bytes) -> object:
    path = scratch() / "blueprint.yaml"
    path.write_bytes(data)
    return load_blueprint(path, imports=ImportPolicy())


# -- what lies in a repository --


def _a_manifest() -> bytes:
    made = Manifest(
        place=_PLACE,
        execution=ExecutionId("e1"),
        provider="host",
        function="f",
        consistency=MANIFEST.point.consistency,
        cut_at=1.0,
        content={"entries": 3, "left_out": ["a"]},
    )
    return made.as_point().as_bytes()


def _parse_manifest(data: bytes) -> object:
    return Manifest.of(Point.parse(data))


def _a_point() -> bytes:
    return manifests._point_of(MANIFEST).as_bytes()


def _parse_point(data: bytes) -> object:
    return manifests.manifest_of(Point.parse(data))


_DRAFT: Final = (
    b'{"format": "quiesce-draft", "execution": "e", "deployment": "shop", "point": "one", '
    b'"instance": "vm_1", "repository": "/srv", "items": {"a": {"kind": "stream", "size_bytes": 1, '
    b'"address": "00"}}}'
)


def _parse_draft(data: bytes) -> object:
    directory = scratch() / "draft"
    directory.mkdir(exist_ok=True)
    (directory / "draft.json").write_bytes(data)
    return drafts.drafted_by(directory)


# -- trees --


def _a_cut() -> dict[str, bytes]:
    """Return the files of the cut of a small tree with one of everything."""
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        tree = top / "tree"
        (tree / "sub").mkdir(parents=True)
        (tree / "file").write_bytes(b"content" * 30)
        (tree / "empty").touch()
        (tree / "link").symlink_to("sub/../file")
        os.link(tree / "file", tree / "sub/second")
        os.mkfifo(tree / "pipe")
        with (tree / "sparse").open("wb") as file:
            file.seek(1 << 20)
            file.write(b"end")
        (top / "cut").mkdir()
        source, cut = os.open(tree, DIRECTORY), os.open(top / "cut", DIRECTORY)
        tree_copies.cut_tree(source, cut, b"raw", lambda _: None)
        for descriptor in (source, cut):
            os.close(descriptor)
        return {path.name: path.read_bytes() for path in (top / "cut/raw").iterdir()}


_CUT: Final = _a_cut()


def _parse_index(data: bytes) -> object:
    place = scratch() / "place"
    shutil.rmtree(place, ignore_errors=True)
    (place / "raw").mkdir(parents=True)
    for name, content in {**_CUT, "index": data}.items():
        (place / "raw" / name).write_bytes(content)
    outside = scratch() / "outside"
    outside.mkdir(exist_ok=True)
    descriptor, raw = os.open(place, DIRECTORY), os.open(place / "raw", DIRECTORY)
    try:
        with _as_device_errors():
            cuts.assemble(raw, descriptor, b"content", lambda _: None)
    finally:
        for each in (descriptor, raw):
            os.close(each)
        assert os.listdir(outside) == []
        assert {"place", "outside"} == set(os.listdir(scratch()))
    return None


@contextlib.contextmanager
def _as_device_errors() -> Iterator[None]:
    """The caller of `assemble` says what an error of the system means."""
    try:
        yield
    except OSError as error:
        raise QuiesceError(str(error)) from error


# -- guests, disks --

DOMAIN: Final = b"""\
<domain type='kvm' id='3'><name>shop</name><uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>
<memory unit='KiB'>524288</memory><metadata><q:quiesce xmlns:q='urn:quiesce:libvirt:1'><q:freeze by='x'/></q:quiesce></metadata>
<os><type arch='x86_64'>hvm</type><loader readonly='yes'>/usr/share/OVMF.fd</loader><nvram>/var/lib/n.fd</nvram></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/a.qcow2'/>
<backingStore type='file'><format type='raw'/><source file='/srv/b.raw'/></backingStore><target dev='vda' bus='virtio'/></disk>
<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/vg/lv'/><target dev='vdb'/><readonly/></disk>
<disk type='file' device='cdrom'><target dev='sda'/></disk>
<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/></interface>
</devices></domain>"""


def _parse_domain(data: bytes) -> object:
    text = data.decode(errors="replace")
    found = domain_xml.read_definition(text)
    targets = [disk.target for disk in found.disks]
    domain_xml.with_sources(text, dict.fromkeys(targets, "/x"), dict.fromkeys(targets, "raw"))
    domain_xml.without_other_disks(text, targets[:1])
    domain_xml.as_new_domain(text, "other")
    return domain_xml.difference(text, DOMAIN.decode())


def _parse_metadata(data: bytes) -> object:
    from quiesce.providers.libvirt.domain import metadata

    domain = mock.Mock()
    domain.metadata.return_value = data.decode(errors="replace")
    metadata.live_metadata(domain)
    return metadata.overlay_snapshots(domain)


METADATA: Final = (
    b"<quiesce><freeze by='e1' key='k' at='1.5' said='yes'/><started by='e1' socket='/run/x'/></quiesce>",
    b"<snapshots><snapshot key='k' name='n' cut_at='1'><disk target='vda' path='/a' overlay='/b'/></snapshot></snapshots>",
)


def _a_vmdk() -> bytes:
    out = io.BytesIO()
    grains = [vmdk.Grain.of(number, bytes([number % 256]) * 900) for number in (0, 1, 7, 600)]
    vmdk.write_disk(out, 2001 * vmdk.GRAIN, grains)
    return out.getvalue()


def _parse_vmdk(data: bytes) -> object:
    pieces = (data[at : at + 1000] for at in range(0, len(data), 1000))
    for grain in vmdk.VmdkReader(pieces).grains():
        assert len(grain.plain()) == vmdk.GRAIN
    return None


# -- this machine, devices, scripts --


def _parse_pid_file(data: bytes) -> object:
    path = scratch() / "pid"
    path.write_bytes(data)
    path.chmod(0o600)
    job = mock.Mock(call=a_call(), options=HostOptions(pid_file=path))
    return process._pid_file(job, path)


def _parse_mounts(data: bytes) -> object:
    """Names of mount points are of users' choice; the table itself is the kernel's."""
    name = (
        data.replace(b"\\", b"\\134")
        .replace(b" ", b"\\040")
        .replace(b"\n", b"\\012")
        .replace(b"\t", b"\\011")
    )
    line = b"36 35 98:0 / %s rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n" % name
    (found,) = parse_mounts([line])
    assert found.point == data
    return None


class _Channel:
    """A far side that has said something and hung up."""

    def __init__(self, data: bytes) -> None:
        self._pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
        self.closed = False

    def recv(self, _: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    def close(self) -> None:
        self.closed = True

    def sendall(self, _: bytes) -> None:
        """Hear nothing."""

    settimeout = sendall


def _parse_terminal(data: bytes) -> object:
    connection = mock.Mock(address="h")
    connection.open_shell.return_value = _Channel(data)
    auth = TerminalAuth(user="u", addresses=("h",), shell=False, reactions=Reactions(prompts=("#", "$")))
    dialogue = Dialogue(connection, auth)
    dialogue._mark = "quiesce-mark:"
    dialogue.is_shell = data[:1] == b"q"
    call = TerminalCall(lines=("show", "more"), responses=(Response(question="sure?", answer="y"),))
    return dialogue.run(call, Silent())  # type: ignore[arg-type]


def _parse_request(data: bytes) -> object:
    answers = ContextAnswers({"instance": {"runtime_properties": {"a": 1}}}, Silent())  # type: ignore[arg-type]
    for line in data.splitlines()[:20]:
        json.loads(answers.answer(line))
    answers.said.end()
    return None


REQUESTS: Final = tuple(
    json.dumps(request).encode()
    for request in (
        {"verb": "context"},
        {"verb": "log", "level": "info", "message": "hello"},
        {"verb": "save", "removed": ["a"], "changed": {"b": [1, {"c": None}]}},
        {"verb": "returns", "value": {"files": ["a"]}},
        {"verb": "retry", "message": "", "retry_after": "5"},
        {"verb": "raised", "kind": "E", "message": "m", "recoverable": True, "retry_after": 3},
        {"verb": "abort", "message": "no"},
    )
)


def _masking() -> Masking:
    made = Masking()
    made.add(SECRET)
    made.add("-----BEGIN KEY-----\n" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=\n" * 20 + "-----END KEY-----")
    return made


_MASKING: Final = _masking()


def _parse_output(data: bytes) -> object:
    """Mask and escape what a device says, before and after: no secret, no control character is left."""
    text = data.decode(errors="surrogateescape")
    masked = _MASKING.text(text)
    assert SECRET not in masked
    for shown in (printable(masked), printable_block(masked)):
        assert not set(shown) & set("\x1b\x07\u202e\u2066\x9b")
    return escaped_json(json.dumps(masked))


OUTPUTS: Final = (
    f"password: {SECRET}\r\nok\r\n".encode(),
    b"-----BEGIN KEY-----\nQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=\n",
    b"vermi\r\nlion/qu\x1b[1Gokka+\n0451\x1b]0;t\x07",
    base64.b64encode(SECRET.encode()),
)


def _parse_account(data: bytes) -> object:
    path = scratch() / "key.json"
    path.write_bytes(data)
    with contextlib.suppress(QuiesceError):
        account_of({"gcp_config": {"auth": str(path), "project": data.decode(errors="replace")}})
    return account_of({"gcp_config": {"auth": data.decode(errors="replace")}})


# -- all of them --

PARSERS: dict[str, Parser] = {
    "blueprint": Parser(seeds=(BLUEPRINT,), parse=_parse_blueprint),
    "manifest": Parser(seeds=(_a_manifest(),), parse=_parse_manifest),
    "restore-point": Parser(seeds=(_a_point(),), parse=_parse_point),
    "draft": Parser(
        seeds=(_DRAFT,),
        parse=_parse_draft,
    ),
    "index": Parser(seeds=(_CUT["index"],), parse=_parse_index),
    "domain": Parser(seeds=(DOMAIN,), parse=_parse_domain),
    "domain-metadata": Parser(seeds=METADATA, parse=_parse_metadata, needs="libvirt"),
    "vmdk": Parser(seeds=(_a_vmdk(),), parse=_parse_vmdk),
    "pid-file": Parser(seeds=(b"1234\n", b"1\n2\n"), parse=_parse_pid_file),
    "mount-name": Parser(seeds=(b"/srv/a b\\040c",), parse=_parse_mounts),
    "terminal": Parser(
        seeds=(
            b"banner\r\n#show\r\nsure? all fine\r\n# more\r\nok\r\n#",
            b"quiesce-mark:0:out\x1b[0m\r\nquiesce-mark:1:",
        ),
        parse=_parse_terminal,
    ),
    "script-request": Parser(seeds=(*REQUESTS, b"\n".join(REQUESTS)), parse=_parse_request),
    "output": Parser(seeds=OUTPUTS, parse=_parse_output),
    "gcp-key": Parser(
        seeds=(b'{"type": "service_account", "project_id": "p", "private_key": "k"}',), parse=_parse_account
    ),
}

PARSERS |= {**cloud.PARSERS, **operators.PARSERS, **repositories.PARSERS}
PARSERS = {name: parser for name, parser in PARSERS.items() if parser.can_run}
