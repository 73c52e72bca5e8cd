"""``quiesce.<provider>`` as a module, for Cloudify: the operations of a provider that is installed.

A blueprint names ``quiesce.host.freeze``, and Cloudify imports ``quiesce.host``. There is no such file: the
module is made from the entry point of the provider, wherever that comes from (docs/decisions/0005).
"""

from __future__ import annotations

from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

from quiesce.provider_kit.installed import installed_providers


def spec_of(name: str) -> ModuleSpec | None:
    """Return how to import *name*, ``quiesce.<provider>``; None when no such provider is installed."""
    provider = name.rpartition(".")[2]
    known = any(each.description.name == provider for each in installed_providers())
    return ModuleSpec(name, _OperationsLoader(provider)) if known else None


class _OperationsLoader(Loader):
    """Makes the module of one provider's operations."""

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the making of the module to the import system."""

    def exec_module(self, module: ModuleType) -> None:
        """Put freeze, thaw, suspend, resume, snapshot, apply, delete and measure into *module*.

        Raises:
            ImportError: when cloudify-common is not installed.
        """
        from quiesce.cloudify.operation import operations_of

        module.__doc__ = f"The operations of the provider {self._provider}, for blueprints inside Cloudify."
        vars(module).update(operations_of(self._provider))
