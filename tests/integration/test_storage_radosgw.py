"""The storage's contract on a real S3 gateway: Ceph's, with and without object lock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quiesce.ports import Storage
from quiesce.testing import Place, StorageContract

pytest.importorskip("obstore", reason="obstore is not installed: make test-storage")

from ..labs.storage.servers import S3, BucketPlace, radosgw  # noqa: TID252

pytestmark = pytest.mark.platform("radosgw")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with radosgw(tmp_path_factory.mktemp("radosgw")) as s3:
        yield s3


class TestRadosgw(StorageContract):
    @pytest.fixture
    def place(self, s3: S3) -> Place:
        return BucketPlace(s3, s3.make_bucket())


class TestLockedRadosgw(StorageContract):
    """Every object is kept for a day, whoever says what: readers must not notice."""

    @pytest.fixture
    def place(self, s3: S3) -> Place:
        return BucketPlace(s3, s3.make_bucket(locked_days=1))

    def test_of_many_exclusive_puts_one_succeeds(self, place: Place, storage: Storage) -> None:
        pytest.skip("Ceph 16 checks no condition in buckets with versions: see docs/storage.md")
