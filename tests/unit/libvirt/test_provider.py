"""Which operation each kind of node has, and that nothing else is done to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from quiesce.errors import UnsupportedError
from quiesce.model.capabilities import Kind
from quiesce.model.operation import Operation
from quiesce.ports import ProviderSettings
from quiesce.providers.libvirt import DESCRIPTION
from quiesce.testing import RecordingContext, Subject

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from quiesce.providers.libvirt.provider import LibvirtProvider


def provider() -> LibvirtProvider:
    """A provider that must not connect to anything."""

    def connect(uri: str) -> Any:
        raise AssertionError(f"connected to {uri}")

    return LibvirtProvider(ProviderSettings(state_dir="", repository="/nowhere"), connect)


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        (kind, operation)
        for kind in DESCRIPTION.kinds
        for operation in Operation
        if operation not in kind.capabilities.operations
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_what_a_kind_does_not_have_is_refused_before_anything_is_asked(
    kind: Kind, operation: Operation
) -> None:
    subject = Subject()
    subject.node_type = min(kind.types)
    with pytest.raises(UnsupportedError, match=kind.name):
        provider().perform(subject.call(operation), RecordingContext())


def test_a_node_of_no_type_of_libvirts_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        provider().perform(Subject().call(Operation.DELETE), RecordingContext())
    assert "cloudify.libvirt.domain" in str(caught.value.hint)


def test_an_operation_of_tomorrow_is_refused() -> None:
    """What is new is no removal, as it once became."""
    subject = Subject()
    subject.node_type = "quiesce.nodes.libvirt.Domain"
    planted: Any = "evacuate"
    with pytest.raises(UnsupportedError, match="evacuate"):
        provider().perform(replace(subject.call(Operation.DELETE), operation=planted), RecordingContext())
