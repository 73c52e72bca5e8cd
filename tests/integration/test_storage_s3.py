"""The storage's contract on S3, as moto stands in for it: with and without object lock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quiesce.model.stored_object import object_name
from quiesce.testing import Place, StorageContract

pytest.importorskip("obstore", reason="obstore is not installed: make test-storage")

from ..labs.storage.servers import S3, BucketPlace, moto  # noqa: TID252

NAME = object_name("packs/ab/abcd")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with moto(tmp_path_factory.mktemp("moto")) as s3:
        yield s3


class TestS3(StorageContract):
    @pytest.fixture
    def place(self, s3: S3) -> Place:
        return BucketPlace(s3, s3.make_bucket())


class TestLockedS3(StorageContract):
    """Every object is kept for a day, whoever says what: readers must not notice."""

    @pytest.fixture
    def place(self, s3: S3) -> Place:
        return BucketPlace(s3, s3.make_bucket(locked_days=1))
