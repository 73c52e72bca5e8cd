"""Whatever call to vCenter fails, and however: a clear error, nothing leaked, and a repetition succeeds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from quiesce.errors import (
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
)
from quiesce.model.operation import Operation
from quiesce.testing.fake_vcenter import FakeVCenter

#: more calls than any operation makes
MOST = 40
FAULTS = {
    "refused": lambda: NonRecoverableError("refused"),
    "lost": lambda: RecoverableError("connection lost"),
    "late": lambda: OperationTimeoutError("no answer"),
}
TARGETS = pytest.mark.parametrize("target", ["repository", "clone"])
KINDS = pytest.mark.parametrize("kind", list(FAULTS))
MOMENTS = pytest.mark.parametrize("happened", [False, True], ids=["before", "after"])


class Failing:
    """A vCenter whose *at*-th call fails, before or after it has had its effect."""

    def __init__(
        self, center: FakeVCenter, at: int, error: Callable[[], ProviderError], happened: bool
    ) -> None:
        self._center = center
        self._at = at
        self._error = error
        self._happened = happened
        self.calls = 0
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._center, name)
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls != self._at:
                return method(*args, **kwargs)
            self.failed = True
            if self._happened:
                method(*args, **kwargs)
            raise self._error()

        return call


def _failing(site: Any, at: int, kind: str, happened: bool) -> Failing:
    return Failing(FakeVCenter(site.world), at, FAULTS[kind], happened)


@TARGETS
@KINDS
@MOMENTS
def test_a_failed_backup_is_undone_whole(
    site: Any, option: Any, target: str, kind: str, happened: bool
) -> None:
    site.write("content")
    before = site.objects()
    properties = option(backup_to=target)
    for at in range(1, MOST):
        center = _failing(site, at, kind, happened)
        with suppress(ProviderError):
            site.backup(center, properties=properties)
        site.perform(Operation.DELETE, full=True, undo=True, properties=properties)
        assert site.objects() == before, f"after a failure of call {at}"
        if not center.failed:
            return
    raise AssertionError("the loop is too short")


@TARGETS
@KINDS
@MOMENTS
def test_a_failed_backup_can_be_repeated(
    site: Any, option: Any, target: str, kind: str, happened: bool
) -> None:
    site.write("content")
    properties = option(backup_to=target)
    artifact = site.backup(properties=properties).artifact
    whole = site.objects()
    site.perform(Operation.DELETE, full=True, artifact=artifact, properties=properties)
    for at in range(1, MOST):
        center = _failing(site, at, kind, happened)
        with suppress(ProviderError):
            site.backup(center, properties=properties)
        artifact = site.backup(properties=properties).artifact
        assert site.objects() == whole, f"after a failure of call {at}"
        site.perform(Operation.DELETE, full=True, artifact=artifact, properties=properties)
        if not center.failed:
            return
    raise AssertionError("the loop is too short")


@TARGETS
@KINDS
@MOMENTS
def test_a_failed_restore_can_be_repeated(
    site: Any, option: Any, target: str, kind: str, happened: bool
) -> None:
    properties = option(backup_to=target)
    site.write("before")
    artifact = site.backup(properties=properties).artifact
    whole = site.objects()
    for at in range(1, MOST):
        center = _failing(site, at, kind, happened)
        site.write("after")
        with suppress(ProviderError):
            site.perform(Operation.APPLY, center, full=True, artifact=artifact, properties=properties)
        site.perform(Operation.APPLY, full=True, artifact=artifact, properties=properties)
        assert site.read() == "before", f"after a failure of call {at}"
        assert site.objects() == whole, f"after a failure of call {at}"
        if not center.failed:
            return
    raise AssertionError("the loop is too short")


@TARGETS
@MOMENTS
def test_a_restore_that_is_given_up_leaves_nothing(
    site: Any, option: Any, target: str, happened: bool
) -> None:
    """The engine asks no more after an error that is not retryable: the provider cleans up itself."""
    properties = option(backup_to=target)
    site.write("before")
    artifact = site.backup(properties=properties).artifact
    whole = site.objects()
    for at in range(1, MOST):
        center = _failing(site, at, "refused", happened)
        site.write("after")
        with suppress(ProviderError):
            site.perform(Operation.APPLY, center, full=True, artifact=artifact, properties=properties)
        assert site.read() in ("before", "after"), f"after a failure of call {at}"
        assert site.world.machines[site.machine].power == "on"
        assert site.objects() == whole, f"after a failure of call {at}"
        if not center.failed:
            return
    raise AssertionError("the loop is too short")


@KINDS
@MOMENTS
def test_another_execution_clears_what_a_dead_restore_left(site: Any, kind: str, happened: bool) -> None:
    site.write("before")
    artifact = site.backup().artifact
    whole = site.objects()
    for at in range(1, MOST):
        center = _failing(site, at, kind, happened)
        site.write("after")
        with suppress(ProviderError):
            site.perform(Operation.APPLY, center, full=True, artifact=artifact)
        site.perform(Operation.APPLY, full=True, artifact=artifact, execution=f"later{at}")
        assert site.read() == "before", f"after a failure of call {at}"
        assert site.objects() == whole, f"after a failure of call {at}"
        if not center.failed:
            return
    raise AssertionError("the loop is too short")


@KINDS
@MOMENTS
def test_a_failed_removal_can_be_repeated(site: Any, kind: str, happened: bool) -> None:
    before = site.objects()
    for at in range(1, MOST):
        center = _failing(site, at, kind, happened)
        artifact = site.backup().artifact
        with suppress(ProviderError):
            site.perform(Operation.DELETE, center, full=True, artifact=artifact)
        site.perform(Operation.DELETE, full=True, artifact=artifact)
        assert site.objects() == before, f"after a failure of call {at}"
        if not center.failed:
            return
    raise AssertionError("the loop is too short")


@KINDS
@MOMENTS
def test_a_failed_snapshot_restore_can_be_repeated(site: Any, kind: str, happened: bool) -> None:
    site.write("before")
    artifact = site.perform(Operation.SNAPSHOT).artifact
    whole = site.objects()
    for at in range(1, MOST):
        center = _failing(site, at, kind, happened)
        site.write("after")
        with suppress(ProviderError):
            site.perform(Operation.APPLY, center, artifact=artifact)
        site.perform(Operation.APPLY, artifact=artifact)
        assert site.read() == "before", f"after a failure of call {at}"
        assert site.world.machines[site.machine].power == "on", f"after a failure of call {at}"
        assert site.objects() == whole
        if not center.failed:
            return
    raise AssertionError("the loop is too short")
