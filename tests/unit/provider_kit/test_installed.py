"""What is installed is found by its entry point, and what is wrong with it names the package."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, EntryPoints
from typing import Any

import pytest

from quiesce.errors import UsageError
from quiesce.provider_kit import installed
from quiesce.provider_kit.installed import OWN_DISTRIBUTION, installed_providers


class Package(Distribution):
    """Another package, as far as its entry points show."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read_text(self, filename: str) -> str | None:
        return (
            f"Metadata-Version: 2.1\nName: {self._name}\nVersion: 1.2\n" if filename == "METADATA" else None
        )

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    installed_providers.cache_clear()
    yield
    installed_providers.cache_clear()


def point(name: str, value: str, package: str) -> EntryPoint:
    found = EntryPoint(name, value, installed.GROUP)
    vars(found).update(dist=Package(package))
    return found


def bring(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(installed, "entry_points", lambda group: EntryPoints(points))


def test_every_provider_of_ours_is_there_with_its_node_types() -> None:
    """Files that a description names exist."""
    ours = [each for each in installed_providers() if each.distribution == OWN_DISTRIBUTION]
    assert {"fake", "host", "libvirt", "terminal"} <= {each.description.name for each in ours}
    files = [each.node_types for each in ours if each.node_types is not None]
    assert files
    assert [path for path in files if not path.is_file()] == []


def test_another_package_is_told_from_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the distribution that its entry point is of."""
    bring(monkeypatch, point("host", "quiesce.providers.host:DESCRIPTION", "quiesce-acme"))
    (found,) = installed_providers()
    assert (found.distribution, found.version, found.package) == (
        "quiesce-acme",
        "1.2",
        "quiesce.providers.host",
    )


def test_two_packages_cannot_bring_one_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of them would be used depended on the order of a directory."""
    value = "quiesce.providers.host:DESCRIPTION"
    bring(monkeypatch, point("host", value, "quiesce"), point("other", value, "quiesce-acme"))
    with pytest.raises(UsageError, match="quiesce and quiesce-acme both bring a provider 'host'"):
        installed_providers()


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("quiesce_nowhere:DESCRIPTION", "cannot be loaded: No module named 'quiesce_nowhere'"),
        ("quiesce.providers.host:NOTHING", "cannot be loaded"),
        ("quiesce.providers.host:DIRECTORY", "names no Description"),
    ],
)
def test_a_broken_package_is_named(monkeypatch: pytest.MonkeyPatch, value: str, wrong: str) -> None:
    """And no traceback is shown."""
    bring(monkeypatch, point("acme", value, "quiesce-acme"))
    with pytest.raises(UsageError, match=wrong) as caught:
        installed_providers()
    assert "quiesce-acme" in str(caught.value)
    assert "uninstall it" in caught.value.hint
