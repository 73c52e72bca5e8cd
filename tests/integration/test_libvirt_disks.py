"""Real domains whose disks are not what they mostly are: off, block devices, elsewhere, with firmware."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests.repository_objects import packs, spoil

from quiesce.errors import DamagedArtifactError, NonRecoverableError, UnsupportedError
from quiesce.model.ids import BackupName
from quiesce.model.operation import Operation
from quiesce.testing import RecordingContext

from ..labs.libvirt import lab  # noqa: TID252  shared by several test modules
from ..labs.libvirt.fixtures import Bench, libvirt_lab, make_guest  # noqa: F401, TID252

pytestmark = [pytest.mark.platform("libvirt"), pytest.mark.timeout(600)]

INCREMENTAL = {"inputs": {"backup_mode": "incremental"}}
FIRMWARE_BYTES = 256 << 10


@pytest.fixture(scope="module")
def made(make_guest: Callable[[str], lab.Guest]) -> lab.Guest:  # noqa: F811
    return make_guest("disks")


@pytest.fixture
def off(made: lab.Guest) -> lab.Guest:
    """A domain that was never started."""
    made.define()
    return made


@pytest.fixture
def device() -> Iterator[Path]:
    """A block device of 64 MiB with an ext4 file system."""
    image = lab.FOLDER / "disks" / "device.raw"
    subprocess.run(
        ["qemu-img", "convert", "-O", "raw", lab.FOLDER / "disks" / "base64.qcow2", image], check=True
    )
    attached = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, check=False
    )
    if attached.returncode:
        image.unlink()
        pytest.skip(f"no loop device can be made here: {attached.stderr.strip()}")
    path = Path(attached.stdout.strip())
    yield path
    subprocess.run(["losetup", "--detach", path], check=True)
    image.unlink()


def _redefine(guest: lab.Guest, *changes: tuple[str, str]) -> None:
    text = guest.domain.XMLDesc(2)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    guest.connection.defineXML(text)


def _mark(path: Path, byte: int) -> None:
    """Fill the first megabyte of an image with *byte*."""
    command = ["qemu-io", "-c", f"write -P {byte} 0 1M", path]
    subprocess.run(command, check=True, capture_output=True)


def _is_marked(path: Path, byte: int) -> bool:
    command = ["qemu-io", "-c", f"read -P {byte} 0 1M", path]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.returncode == 0 and "failed" not in done.stdout


# -- off --------------------------------------------------------------------------------------------------


def test_the_cut_of_a_domain_that_is_off_starts_nothing(off: lab.Guest, tmp_path: Path) -> None:
    bench = Bench(off, tmp_path)
    for point in ("one", "two"):
        bench.do(Operation.FREEZE, point)
        cut = bench.do(Operation.SNAPSHOT, point, full=True, **INCREMENTAL)
        assert not off.domain.isActive()
        bench.do(Operation.THAW, point)
        made = bench.do(Operation.COPY, point, full=True, artifact=cut.artifact, **INCREMENTAL).artifact
        assert not off.domain.isActive()
        assert made is not None
        assert made["parent"] == ("one" if point == "two" else None)
    assert off.checkpoints() == [f"{bench.instance}-{point}" for point in ("one", "two")]
    for point in ("one", "two"):
        bench.remove(point)
    assert bench.leftovers() == []
    assert off.checkpoints() == []


def test_a_domain_that_was_started_after_the_cut_is_not_passed_off_as_the_cut(
    off: lab.Guest, tmp_path: Path
) -> None:
    bench = Bench(off, tmp_path)
    cut = bench.do(Operation.SNAPSHOT, full=True)
    off.start()
    with pytest.raises(NonRecoverableError, match="started"):
        bench.do(Operation.COPY, full=True, artifact=cut.artifact)
    assert off.domain.isActive()
    assert not off.job_runs()
    off.wait_for_writer(3)
    off.destroy()
    with pytest.raises(NonRecoverableError, match="started"):
        bench.do(Operation.COPY, full=True, artifact=cut.artifact)
    bench.remove(undo=True)
    assert bench.leftovers() == []


def test_a_copy_that_died_with_a_domain_started_to_be_read_goes_on(off: lab.Guest, tmp_path: Path) -> None:
    from quiesce.provider_kit.ownership import Owner
    from quiesce.providers.libvirt.client import Hypervisor
    from quiesce.providers.libvirt.domain.backup_job import start_to_read

    _mark(off.disk(), 17)
    bench = Bench(off, tmp_path)
    cut = bench.do(Operation.SNAPSHOT, full=True)
    with contextlib.closing(Hypervisor(off.uri)) as hypervisor:
        owner = Owner.of(bench.call(Operation.SNAPSHOT, point=BackupName("one"), full=True))
        start_to_read(hypervisor.domain(off.name), owner.key.point)
    assert off.domain.isActive()
    bench.do(Operation.COPY, full=True, artifact=cut.artifact)
    assert not off.domain.isActive()
    _mark(off.disk(), 18)
    bench.restore()
    assert _is_marked(off.disk(), 17)
    bench.remove()


# -- other disks ------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="making a block device needs root")
def test_a_block_device_is_saved_and_written_back_in_place(
    made: lab.Guest, tmp_path: Path, device: Path
) -> None:
    made.define(disk_format="raw")
    source = f"<source file='{made.disk()}'/>"
    _redefine(made, ("<disk type='file' device='disk'>", "<disk type='block' device='disk'>"),
              (source, f"<source dev='{device}'/>"))  # fmt: skip
    made.start()
    bench = Bench(made, tmp_path)
    made.shell("echo kept >/data/token; sync")
    bench.backup(**INCREMENTAL)
    made.shell("echo lost >/data/token; sync")
    with pytest.raises(UnsupportedError, match=str(device)):
        bench.restore(inputs={"restore_as": "another"})
    good = {path: path.read_bytes() for path in packs(bench.repository)}
    spoil(good)
    with pytest.raises(DamagedArtifactError):
        bench.restore()
    assert made.shell("cat /data/token").strip() == "lost"
    for path, data in good.items():
        path.write_bytes(data)
    bench.restore()
    made.wait_for_agent()
    assert made.shell("cat /data/token").strip() == "kept"
    assert f"<source dev='{device}'" in made.domain.XMLDesc(2)
    bench.remove()
    made.destroy()


def test_a_disk_that_lies_elsewhere_is_refused_by_name_or_left_out(off: lab.Guest, tmp_path: Path) -> None:
    elsewhere = (
        "<disk type='network' device='disk'><driver name='qemu' type='raw'/>"
        "<source protocol='nbd' name='far'><host name='127.0.0.1' port='1'/></source>"
        "<target dev='vdb' bus='virtio'/></disk>"
    )
    _redefine(off, ("<interface type", f"{elsewhere}<interface type"))
    with pytest.raises(UnsupportedError, match=r"vdb \(network\)"):
        Bench(off, tmp_path).do(Operation.SNAPSHOT, full=True)
    bench = Bench(off, tmp_path, exclude_disks=["vdb"])
    cut = bench.do(Operation.SNAPSHOT, full=True)
    assert cut.artifact is not None
    bench.remove(undo=True)


@pytest.mark.parametrize("form", ["<nvram>{}</nvram>", "<nvram type='file'><source file='{}'/></nvram>"])
def test_firmware_variables_come_back_with_the_domain(
    off: lab.Guest,
    form: str,
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
) -> None:
    loader, variables = (lab.FOLDER / "disks" / f"{off.name}-{name}.fd" for name in ("code", "vars"))
    loader.write_bytes(bytes(FIRMWARE_BYTES))
    variables.write_bytes(b"\1" * FIRMWARE_BYTES)
    firmware = f"<loader readonly='yes' type='pflash'>{loader}</loader>{form.format(variables)}"
    _redefine(off, ("</type>", f"</type>{firmware}"))
    bench = Bench(off, tmp_path)
    bench.backup()
    variables.write_bytes(b"\2" * FIRMWARE_BYTES)
    bench.restore()
    assert variables.read_bytes() == b"\1" * FIRMWARE_BYTES
    other = make_guest("firmware")
    other.forget()
    variables.write_bytes(b"\2" * FIRMWARE_BYTES)
    bench.restore(inputs={"restore_as": other.name})
    theirs = variables.with_name(f"{other.name}_VARS.fd")
    assert str(theirs) in other.domain.XMLDesc(2)
    assert theirs.read_bytes() == b"\1" * FIRMWARE_BYTES
    assert variables.read_bytes() == b"\2" * FIRMWARE_BYTES
    other.forget()
    theirs.unlink(missing_ok=True)
    bench.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_restored_disk_belongs_to_whom_the_old_one_did(off: lab.Guest, tmp_path: Path) -> None:
    bench = Bench(off, tmp_path)
    bench.backup()
    off.disk().chmod(0o640)
    os.chown(off.disk(), 1234, 4321)
    bench.restore()
    found = off.disk().stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 4321, 0o640)
    bench.remove()


def test_a_transient_domain_is_restored_once_it_was_stopped(
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
) -> None:
    guest = make_guest("transient")
    guest.define()
    text = guest.domain.XMLDesc(2)
    guest.domain.undefine()
    guest.connection.createXML(text, 0)
    guest.wait_for_agent()
    guest.shell("echo kept >/data/token; sync")
    bench = Bench(guest, tmp_path)
    findings = bench.provider().doctor(bench.call(Operation.SNAPSHOT), RecordingContext())
    assert [finding.check for finding in findings if not finding.passed] == ["persistent"]
    bench.backup(**INCREMENTAL)
    guest.shell("echo lost >/data/token; sync")
    with pytest.raises(UnsupportedError, match="transient"):
        bench.restore()
    assert guest.shell("cat /data/token").strip() == "lost"
    guest.destroy()
    bench.restore()
    guest.wait_for_agent()
    assert guest.shell("cat /data/token").strip() == "kept"
    assert guest.domain.isPersistent()
    bench.remove()
    guest.forget()


# -- left out ---------------------------------------------------------------------------------------------


def _mark_all(guest: lab.Guest, byte: int) -> None:
    for number in range(2):
        _mark(guest.disk(number), byte)


@pytest.mark.parametrize("full", [True, False], ids=["backup", "snapshot"])
def test_a_restore_leaves_an_excluded_disk_as_it_is(made: lab.Guest, tmp_path: Path, full: bool) -> None:
    made.define(disks=2)
    _mark_all(made, 17)
    bench = Bench(made, tmp_path)
    cut = bench.do(Operation.SNAPSHOT, full=full)
    if full:
        bench.do(Operation.COPY, full=True, artifact=cut.artifact)
        _mark_all(made, 18)
    else:
        for path in _paths(made):
            _mark(path, 18)
    bench.do(Operation.APPLY, full=full, inputs={"exclude_disks": "vdb"})
    first, second = _paths(made)
    assert _is_marked(first, 17)
    assert _is_marked(second, 18)
    bench.do(Operation.DELETE, full=full)


def test_another_domain_gets_no_disk_that_the_backup_does_not_hold(
    made: lab.Guest,
    make_guest: Callable[[str], lab.Guest],  # noqa: F811
    tmp_path: Path,
) -> None:
    made.define(disks=2)
    bench = Bench(made, tmp_path, exclude_disks=["vdb"])
    bench.backup()
    other = make_guest("excluded")
    other.forget()
    bench.restore(inputs={"restore_as": other.name})
    (path,) = _paths(other)
    assert path not in _paths(made)
    other.forget()
    bench.remove()


def test_a_disk_that_qemu_encrypts_is_refused(off: lab.Guest, tmp_path: Path) -> None:
    encryption = "<encryption format='luks'><secret type='passphrase' usage='none'/></encryption>"
    _redefine(off, (f"<source file='{off.disk()}'/>", f"<source file='{off.disk()}'>{encryption}</source>"))
    for full in (True, False):
        with pytest.raises(UnsupportedError, match="vda are encrypted"):
            Bench(off, tmp_path).do(Operation.SNAPSHOT, full=full)


def _paths(guest: lab.Guest) -> list[Path]:
    """Return the files that the guest's disks are on now."""
    tree = ET.fromstring(guest.domain.XMLDesc(2))
    return [Path(source.attrib["file"]) for source in tree.findall("devices/disk/source")]
