"""Endpoints, names, marks and faults: the small parts."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from quiesce.errors import (
    CannotFreezeError,
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.provider_kit.ownership import Owner
from quiesce.providers.vsphere.endpoint import VCenterEndpoint, endpoint_of, lookup_of
from quiesce.providers.vsphere.errors import of_connection, of_fault, translated
from quiesce.providers.vsphere.inventory import MachineSnapshot, PowerState
from quiesce.providers.vsphere.ownership import description_of, object_name, owner_of_snapshot

CONFIG: dict[str, Json] = {"host": "vc", "username": "u", "password": "hush"}


# -- endpoints ---------------------------------------------------------------------------------------------


def test_an_endpoint_never_shows_its_password() -> None:
    endpoint = VCenterEndpoint.of({**CONFIG, "certificate_data": "PEM"})
    assert "hush" not in repr(endpoint)
    assert "hush" not in str(endpoint)


@pytest.mark.parametrize("missing", ["host", "username", "password"])
def test_an_incomplete_connection_is_refused_by_name(missing: str) -> None:
    with pytest.raises(NonRecoverableError, match=missing):
        VCenterEndpoint.of({name: value for name, value in CONFIG.items() if name != missing})


def test_a_certificate_and_no_verification_contradict_each_other() -> None:
    with pytest.raises(NonRecoverableError, match="allow_insecure"):
        VCenterEndpoint.of({**CONFIG, "allow_insecure": "true", "certificate_path": "/x"})


def test_a_port_is_a_number() -> None:
    with pytest.raises(NonRecoverableError, match="port"):
        VCenterEndpoint.of({**CONFIG, "port": "https"})


@pytest.mark.parametrize(("word", "insecure"), [("yes", True), ("true", True), (False, False), ("", False)])
def test_verification_is_switched_off_in_the_words_of_all_options(word: Json, insecure: bool) -> None:
    assert VCenterEndpoint.of({**CONFIG, "allow_insecure": word}).allow_insecure is insecure


def test_a_word_that_is_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(NonRecoverableError, match="allow_insecure of connection_config"):
        VCenterEndpoint.of({**CONFIG, "allow_insecure": "perhaps"})


def test_what_is_given_for_one_execution_never_names_another_vcenter(site: Any) -> None:
    call = site.call(Operation.SNAPSHOT, inputs={"connection_config": {"host": "other"}})
    assert endpoint_of(call).host == "memory"


# -- how a machine is found --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "runtime", "names"),
    [
        ({"server": {"name": "web"}, "use_external_resource": True}, {}, ("web",)),
        ({"server": {"name": "web", "add_scale_suffix": False}}, {}, ("web",)),
        ({"server": {"name": "my_web"}}, {}, ("my-web-ab12", "my_web")),
        ({"server": {}}, {}, ("server-ab12", "server")),
        ({"server": {"name": "web"}}, {"name": "web-0"}, ("web-0",)),
    ],
)
def test_the_names_are_those_of_the_official_plugin(
    site: Any, properties: dict[str, Any], runtime: dict[str, Any], names: tuple[str, ...]
) -> None:
    call = site.call(Operation.SNAPSHOT, properties=properties, runtime_properties=runtime)
    assert lookup_of(call).names == names


def test_what_the_operator_names_counts_most(site: Any) -> None:
    runtime = {"vsphere_server_id": "vm-7"}
    call = site.call(Operation.SNAPSHOT, properties={"resource_id": "web"}, runtime_properties=runtime)
    lookup = lookup_of(call)
    assert (lookup.resource, lookup.id) == ("web", "vm-7")


# -- marks -------------------------------------------------------------------------------------------------


def _snapshot(description: str) -> MachineSnapshot:
    return MachineSnapshot(id="s", name="n", description=description, power=PowerState.ON, quiesced=False)


def test_a_mark_is_read_as_it_was_written(site: Any) -> None:
    call = site.call(Operation.SNAPSHOT)
    assert owner_of_snapshot(_snapshot(description_of(call))) == Owner.of(call)


@pytest.mark.parametrize(
    "text", ["", "theirs", "made by quiesce {", "made by quiesce {}", "made by quiesce 7"]
)
def test_other_texts_are_no_marks(text: str) -> None:
    assert owner_of_snapshot(_snapshot(text)) is None


def test_long_names_stay_different_and_short_enough(site: Any) -> None:
    points = ["x" * 120, "x" * 119 + "y"]
    names = {object_name(site.call(Operation.SNAPSHOT, point=point)) for point in points}
    assert len(names) == 2
    assert all(len(name) <= 80 for name in names)


def test_a_name_is_one_that_vsphere_keeps_as_it_is(site: Any) -> None:
    """Slashes and percent signs are written otherwise there, so that the name would not be found again."""
    names = {object_name(site.call(Operation.SNAPSHOT, point=point)) for point in ("a/b", "a%b", "a-b")}
    assert len(names) == 3
    assert not any(sign in name for name in names for sign in "/%\\")


# -- faults ------------------------------------------------------------------------------------------------


class MethodFault(Exception):  # noqa: N818  the name of the API
    msg = "said so"


class InsufficientResourcesFault(MethodFault):
    pass


class InsufficientCpuResourcesFault(InsufficientResourcesFault):
    pass


class NoPermission(MethodFault):
    privilegeId = "VirtualMachine.State.CreateSnapshot"  # noqa: N815  the API's name


class NotAuthenticated(NoPermission):
    pass


def _fault(name: str) -> MethodFault:
    kind = type(f"vim.fault.{name}", (MethodFault,), {})
    return kind()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (_fault("TaskInProgress"), RecoverableError),
        (_fault("InvalidPowerState"), RecoverableError),
        (_fault("FileLocked"), RecoverableError),
        (NotAuthenticated(), RecoverableError),
        (NoPermission(), NonRecoverableError),
        (InsufficientCpuResourcesFault(), NonRecoverableError),
        (_fault("FilesystemQuiesceFault"), CannotFreezeError),
        (_fault("NotSupported"), UnsupportedError),
        (_fault("ManagedObjectNotFound"), ResourceNotFoundError),
        (_fault("NeverHeardOf"), NonRecoverableError),
    ],
)
def test_faults_are_told_apart(fault: MethodFault, kind: type[ProviderError]) -> None:
    error = of_fault(fault, "snapshot vm-1")
    assert type(error) is kind
    assert "snapshot vm-1" in str(error)
    assert "said so" in str(error)


def test_a_missing_privilege_is_named() -> None:
    assert "VirtualMachine.State.CreateSnapshot" in str(of_fault(NoPermission(), "x"))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError("reset"), RecoverableError),
        (http.client.RemoteDisconnected("gone"), RecoverableError),
        (TimeoutError(), OperationTimeoutError),
    ],
)
def test_lost_connections_may_be_tried_again(error: Exception, kind: type[ProviderError]) -> None:
    assert type(of_connection(error, "x")) is kind


def test_a_bug_of_ours_is_not_dressed_up() -> None:
    with pytest.raises(ZeroDivisionError), translated("count"):
        _ = 1 // 0
