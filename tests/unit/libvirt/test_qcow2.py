"""The disk files of a backup, without a hypervisor."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quiesce.errors import DamagedArtifactError
from quiesce.providers.libvirt.disk.qcow2 import (
    CLUSTER,
    Layout,
    Run,
    merged,
    read_layer,
    whole_clusters,
    without,
)

CLUSTERS = 24


def runs_of(marks: list[int], *, zero_mark: int = 2) -> list[Run]:
    """Return the runs of a disk whose clusters are absent (0), data (1) or zeros (2)."""
    data = whole_clusters((n * CLUSTER, CLUSTER) for n, mark in enumerate(marks) if mark == 1)
    zeros = whole_clusters(
        ((n * CLUSTER, CLUSTER) for n, mark in enumerate(marks) if mark == zero_mark), zero=True
    )
    return sorted((*data, *zeros), key=lambda run: run.first)


def write(path: Path, marks: list[int], size_bytes: int = CLUSTERS * CLUSTER, *, tag: int = 0) -> None:
    """Write a file whose data clusters each hold their number and *tag*."""
    layout = Layout(size_bytes, runs_of(marks))
    with path.open("wb") as file:
        for head in layout.head():
            file.write(head)
        for offset, length in layout.data():
            for position in range(offset, offset + length, CLUSTER):
                file.write(content(position // CLUSTER, tag))
    assert path.stat().st_size == layout.file_bytes


def content(cluster: int, tag: int) -> bytes:
    return bytes([cluster, tag]) * (CLUSTER // 2)


def read(layers: list[Path]) -> bytes:
    """Return the disk that *layers* make up."""
    disk = bytearray(CLUSTERS * CLUSTER)
    for layer, piece in merged([read_layer(path) for path in layers], CLUSTERS * CLUSTER):
        begin, length = piece.run.first * CLUSTER, piece.run.count * CLUSTER
        data = (
            bytes(length) if piece.run.zero else layer.path.read_bytes()[piece.offset : piece.offset + length]
        )
        disk[begin : begin + length] = data
    return bytes(disk)


def expected(*layers: list[int]) -> bytes:
    disk = [bytes(CLUSTER)] * CLUSTERS
    for tag, marks in enumerate(layers):
        for number, mark in enumerate(marks):
            if mark:
                disk[number] = content(number, tag) if mark == 1 else bytes(CLUSTER)
    return b"".join(disk)


@settings(max_examples=30)
@given(st.lists(st.sampled_from([0, 1, 2]), min_size=CLUSTERS, max_size=CLUSTERS))
def test_what_was_laid_out_is_read_back(tmp_path_factory: pytest.TempPathFactory, marks: list[int]) -> None:
    path = tmp_path_factory.mktemp("image") / "layer"
    write(path, marks)
    found = [(p.run.first, p.run.count, p.run.zero) for p in read_layer(path).pieces]
    assert found == [(run.first, run.count, run.zero) for run in runs_of(marks)]
    assert read([path]) == expected(marks)


@settings(max_examples=30)
@given(
    st.lists(
        st.lists(st.sampled_from([0, 1, 2]), min_size=CLUSTERS, max_size=CLUSTERS), min_size=1, max_size=4
    )
)
def test_the_newest_layer_that_has_a_cluster_counts(
    tmp_path_factory: pytest.TempPathFactory, layers: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("image")
    paths = [folder / str(number) for number in range(len(layers))]
    for tag, (path, marks) in enumerate(zip(paths, layers, strict=True)):
        write(path, marks, tag=tag)
    assert read(paths) == expected(*layers)


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img (qemu-utils) is not installed")
def test_qemu_reads_the_same_and_finds_nothing_wrong(tmp_path: Path) -> None:
    full = [1 if n % 3 else 0 for n in range(CLUSTERS)]
    increment = [2 if n % 5 == 0 else int(n % 7 == 0) for n in range(CLUSTERS)]
    for tag, marks in enumerate((full, increment)):
        write(tmp_path / str(tag), marks, tag=tag)
        checked = subprocess.run(["qemu-img", "check", "-f", "qcow2", tmp_path / str(tag)], check=False)
        assert checked.returncode == 0
    rebase = ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", tmp_path / "0", tmp_path / "1"]
    subprocess.run(rebase, check=True)
    subprocess.run(["qemu-img", "convert", "-O", "raw", tmp_path / "1", tmp_path / "raw"], check=True)
    assert (tmp_path / "raw").read_bytes() == expected(full, increment)


def test_a_disk_that_ends_within_a_cluster_is_whole_clusters_in_the_file() -> None:
    layout = Layout(CLUSTER + 512, whole_clusters([(0, CLUSTER + 512)]))
    assert list(layout.data()) == [(0, CLUSTER + 512)]
    assert layout.data_clusters == 2


def test_a_large_sparse_disk_takes_little_room() -> None:
    layout = Layout(8 << 40, [Run(first=0, count=1), Run(first=(8 << 40 >> 16) - 1, count=1)])
    assert layout.file_bytes < 32 * CLUSTER


def test_what_is_not_ours_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "layer"
    path.write_bytes(b"something else" * 100)
    with pytest.raises(DamagedArtifactError):
        read_layer(path)
    path.write_bytes(b"")
    with pytest.raises(DamagedArtifactError):
        read_layer(path)


def test_taking_clusters_away_leaves_the_rest() -> None:
    left = without(
        [Run(first=0, count=10), Run(first=20, count=5)], [Run(first=2, count=2), Run(first=8, count=14)]
    )
    assert [(run.first, run.count) for run in left] == [(0, 2), (4, 4), (22, 3)]
