"""The images that restored disks become, without a hypervisor."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quiesce.providers.libvirt.disk.qcow2 import CLUSTER, Layout, Run, whole_clusters

from .images import clusters_of, disk_of

CLUSTERS = 24
MARKS = st.lists(st.booleans(), min_size=CLUSTERS, max_size=CLUSTERS)


def write(path: Path, marks: list[bool], size_bytes: int = CLUSTERS * CLUSTER) -> Layout:
    """Write an image that holds the clusters that *marks* name, each full of its number."""
    held = [number for number, mark in enumerate(marks) if mark]
    layout = Layout(size_bytes, whole_clusters((number * CLUSTER, CLUSTER) for number in held))
    with path.open("wb") as file:
        for head in layout.head():
            file.write(head)
        for number in held:
            file.seek(layout.place_of(number * CLUSTER))
            file.write(content(number))
        file.truncate(layout.file_bytes)
    return layout


def content(cluster: int) -> bytes:
    return bytes([cluster + 1]) * CLUSTER


def expected(marks: list[bool]) -> bytes:
    return b"".join(content(number) if mark else bytes(CLUSTER) for number, mark in enumerate(marks))


@settings(max_examples=30)
@given(MARKS)
def test_what_was_laid_out_is_read_back(tmp_path_factory: pytest.TempPathFactory, marks: list[bool]) -> None:
    path = tmp_path_factory.mktemp("image") / "disk"
    write(path, marks)
    assert clusters_of(path).keys() == {number for number, mark in enumerate(marks) if mark}
    assert disk_of(path, CLUSTERS * CLUSTER) == expected(marks)


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img (qemu-utils) is not installed")
def test_qemu_reads_the_same_and_finds_nothing_wrong(tmp_path: Path) -> None:
    marks = [number % 3 != 0 for number in range(CLUSTERS)]
    write(tmp_path / "disk", marks)
    subprocess.run(["qemu-img", "check", "-f", "qcow2", tmp_path / "disk"], check=True)
    convert = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", tmp_path / "disk", tmp_path / "raw"]
    subprocess.run(convert, check=True)
    assert (tmp_path / "raw").read_bytes() == expected(marks)


def test_a_place_within_a_cluster_is_within_it_in_the_file() -> None:
    layout = Layout(CLUSTERS * CLUSTER, [Run(first=2, count=3), Run(first=9, count=1)])
    for first, count in ((2, 3), (9, 1)):
        for number in range(first, first + count):
            begin = layout.place_of(number * CLUSTER)
            assert begin % CLUSTER == 0
            assert layout.place_of(number * CLUSTER + 513) == begin + 513


def test_a_disk_that_ends_within_a_cluster_is_whole_clusters_in_the_file() -> None:
    layout = Layout(CLUSTER + 512, whole_clusters([(0, CLUSTER + 512)]))
    assert layout.data_clusters == 2
    assert layout.file_bytes == layout.place_of(0) + 2 * CLUSTER


def test_a_large_sparse_disk_takes_little_room() -> None:
    layout = Layout(8 << 40, [Run(first=0, count=1), Run(first=(8 << 40 >> 16) - 1, count=1)])
    assert layout.file_bytes < 32 * CLUSTER
