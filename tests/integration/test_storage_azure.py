"""The storage's contract on Azure's blobs, as Microsoft's own Azurite stands in for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quiesce.errors import StorageDeniedError, UnreachableError
from quiesce.model.stored_object import object_name
from quiesce.testing import Place, StorageContract

pytest.importorskip("obstore", reason="obstore is not installed: make test-storage")

from ..labs.storage.servers import Azure, ContainerPlace, azurite  # noqa: TID252

NAME = object_name("packs/ab/abcd")


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    with azurite(tmp_path_factory.mktemp("azurite")) as azure:
        yield azure


class TestAzure(StorageContract):
    @pytest.fixture
    def place(self, azure: Azure) -> Place:
        return ContainerPlace(azure)


def test_a_container_that_is_not_there_is_unreachable_and_never_empty(azure: Azure) -> None:
    storage = azure.open("no-such-container")
    for asked in (
        lambda: storage.put(NAME, b""),
        lambda: storage.put(NAME, b"", exclusive=True),
        lambda: storage.get(NAME),
        lambda: storage.stat(NAME),
        lambda: list(storage.list()),
        lambda: storage.delete(NAME),
    ):
        with pytest.raises(UnreachableError, match="container does not exist"):
            asked()


def test_a_wrong_key_is_denied(azure: Azure) -> None:
    container = azure.make_container()
    azure = Azure(server=azure.server, key="d3Jvbmcga2V5")
    with pytest.raises(StorageDeniedError):
        azure.open(container).put(NAME, b"")
