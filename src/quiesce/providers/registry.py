"""Finds providers by the entry point group ``quiesce.providers``; imports an SDK only when it is used."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib import import_module

from quiesce.errors import PlanError
from quiesce.model.capabilities import Description
from quiesce.ports import Provider, ProviderSettings
from quiesce.provider_kit.installed import installed_providers


def describe_providers() -> Sequence[Description]:
    """Return every installed provider's description, by name."""
    return [each.description for each in installed_providers()]


class Providers:
    """Makes each provider once, when it is first asked for. Safe from many threads."""

    def __init__(self, descriptions: Sequence[Description], settings_of: dict[str, ProviderSettings]) -> None:
        self._descriptions = {description.name: description for description in descriptions}
        self._settings_of = settings_of
        self._made: dict[str, Provider] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Provider:
        """Return the provider called *name*.

        Raises:
            PlanError: when what it needs is not installed.
        """
        made = self._made.get(name)
        if made is not None:
            return made
        with self._lock:
            if name not in self._made:
                self._made[name] = self._make(self._descriptions[name])
            return self._made[name]

    def close(self) -> None:
        """Close every provider that was made."""
        for provider in self._made.values():
            provider.close()
        self._made.clear()

    def _make(self, description: Description) -> Provider:
        module, _, factory = description.factory.partition(":")
        try:
            make = getattr(import_module(module), factory)
        except ImportError as error:
            needed = f"pip install 'quiesce[{description.extra}]'" if description.extra else "what it imports"
            raise PlanError(
                f"provider {description.name} cannot be used: {error}",
                hint=f"Install what is missing: {needed}",
            ) from error
        provider: Provider = make(self._settings_of[description.name])
        return provider
