"""A guest that its own timer has thawed is not taken for frozen, whatever the wall clock does."""

from __future__ import annotations

import time
from typing import cast

import pytest

pytest.importorskip("libvirt", reason="libvirt-python is not installed (quiesce[libvirt])")

from quiesce.providers.libvirt.client import Domain
from quiesce.providers.libvirt.domain import agent
from quiesce.providers.libvirt.domain.metadata import GuestFreeze, LiveMetadata

YEAR_S = 366 * 86400.0


@pytest.mark.parametrize("jump_s", [-YEAR_S, 0.0, YEAR_S])
@pytest.mark.parametrize(("left_s", "frozen"), [(60.0, True), (-1.0, False)])
def test_the_wall_clock_does_not_count(
    monkeypatch: pytest.MonkeyPatch, jump_s: float, left_s: float, frozen: bool
) -> None:
    """The agent says frozen in either case: it does not notice what the kernel did."""
    until = time.monotonic() + left_s
    freeze = GuestFreeze(execution="backup-1", timer=7, until=until, boot=agent._boot())
    jumped = time.time() + jump_s
    monkeypatch.setattr(agent, "live_metadata", lambda _: LiveMetadata(freeze=freeze))
    monkeypatch.setattr(agent, "_cannot_be_frozen", lambda _: False)
    monkeypatch.setattr(agent, "_status", lambda *_: "frozen")
    monkeypatch.setattr(time, "time", lambda: jumped)
    assert agent.is_frozen(cast("Domain", None)) is frozen


def test_another_machine_s_clock_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its seconds have nothing to do with ours: the agent is asked."""
    freeze = GuestFreeze(execution="backup-1", timer=7, until=1.0, boot="elsewhere")
    monkeypatch.setattr(agent, "live_metadata", lambda _: LiveMetadata(freeze=freeze))
    monkeypatch.setattr(agent, "_cannot_be_frozen", lambda _: False)
    monkeypatch.setattr(agent, "_status", lambda *_: "frozen")
    assert agent.is_frozen(cast("Domain", None)) is True
