"""Endpoints, names, marks, faults and combined requests: the small parts."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from quiesce.errors import (
    CannotFreezeError,
    ForeignObjectError,
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.providers.vsphere.endpoints import Endpoint, endpoint_of, lookup_of
from quiesce.providers.vsphere.errors import of_connection, of_fault, translated
from quiesce.providers.vsphere.marks import Mark, claim, object_name, removable
from quiesce.providers.vsphere.together import Together

CONFIG: dict[str, Json] = {"host": "vc", "username": "u", "password": "hush"}


# -- endpoints ---------------------------------------------------------------------------------------------


def test_an_endpoint_never_shows_its_password() -> None:
    endpoint = Endpoint.of({**CONFIG, "certificate_data": "PEM"})
    assert "hush" not in repr(endpoint)
    assert "hush" not in str(endpoint)


@pytest.mark.parametrize("missing", ["host", "username", "password"])
def test_an_incomplete_connection_is_refused_by_name(missing: str) -> None:
    with pytest.raises(NonRecoverableError, match=missing):
        Endpoint.of({name: value for name, value in CONFIG.items() if name != missing})


def test_a_certificate_and_no_verification_contradict_each_other() -> None:
    with pytest.raises(NonRecoverableError, match="allow_insecure"):
        Endpoint.of({**CONFIG, "allow_insecure": "true", "certificate_path": "/x"})


def test_a_port_is_a_number() -> None:
    with pytest.raises(NonRecoverableError, match="port"):
        Endpoint.of({**CONFIG, "port": "https"})


def test_inputs_replace_parts_of_the_connection(site: Any) -> None:
    call = site.call(Operation.SNAPSHOT, inputs={"connection_config": {"host": "other"}})
    assert endpoint_of(call).host == "other"
    assert endpoint_of(call).username == "u"


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


def test_a_mark_is_read_as_it_was_written(site: Any) -> None:
    mark = Mark.of(site.call(Operation.SNAPSHOT))
    assert Mark.read(str(mark)) == mark


@pytest.mark.parametrize(
    "text", ["", "theirs", "made by quiesce {", "made by quiesce {}", "made by quiesce 7"]
)
def test_other_texts_are_no_marks(text: str) -> None:
    assert Mark.read(text) is None


def test_an_object_of_another_execution_is_not_taken(site: Any) -> None:
    call = site.call(Operation.SNAPSHOT)
    theirs = str(replace(Mark.of(call), execution="other"))
    with pytest.raises(ForeignObjectError, match="other"):
        claim(call, theirs, "the snapshot")
    assert removable(call, theirs)
    assert not removable(replace(call, undo=True), theirs)
    assert not removable(call, "theirs")


def test_long_names_stay_different_and_short_enough(site: Any) -> None:
    points = ["x" * 120, "x" * 119 + "y"]
    names = {object_name(site.call(Operation.SNAPSHOT, point=point)) for point in points}
    assert len(names) == 2
    assert all(len(name) <= 80 for name in names)


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


# -- requests of many threads ------------------------------------------------------------------------------


def test_requests_that_come_together_are_one() -> None:
    gate, asked = threading.Event(), []

    def fetch(keys: Sequence[int]) -> Mapping[int, int | Exception]:
        asked.append(sorted(keys))
        gate.wait(5)
        return {key: key * 2 for key in keys}

    together: Together[int, int] = Together(fetch)
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(together.get, 0)
        while not asked:
            pass
        others = [threads.submit(together.get, key) for key in range(1, 9)]
        while len(together._waiting) < 8:
            pass
        gate.set()
        assert [first.result(), *(one.result() for one in others)] == [key * 2 for key in range(9)]
    assert asked == [[0], list(range(1, 9))]


def test_one_key_that_fails_does_not_fail_the_others() -> None:
    def fetch(keys: Sequence[str]) -> Mapping[str, int | Exception]:
        return {key: ValueError(key) if key == "bad" else 1 for key in keys}

    together: Together[str, int] = Together(fetch)
    assert together.get("good") == 1
    with pytest.raises(ValueError, match="bad"):
        together.get("bad")


def test_a_request_that_fails_fails_everybody_and_is_over() -> None:
    answers: list[Any] = [RuntimeError("down"), {"a": 1}]

    def fetch(keys: Sequence[str]) -> Mapping[str, int | Exception]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    together: Together[str, int] = Together(fetch)
    with pytest.raises(RuntimeError):
        together.get("a")
    assert together.get("a") == 1
