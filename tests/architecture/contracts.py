"""Contracts of our own for import-linter, named in ``.importlinter``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class AllowListContract(Contract):
    """Says who may import what comes from outside: whatever is not listed is not allowed.

    ``allowed`` has a line for each package: its name, a colon, and the modules of ours that may import it,
    each with all that is below it. ``standard_library`` lists what of Python's own library ``pure_modules``
    may import; all others may import all of it.
    """

    type_name = "allow_list"

    allowed = fields.ListField(subfield=fields.StringField())
    pure_modules = fields.SetField(subfield=fields.StringField())
    standard_library = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Return every import that nobody allowed, and every permission that nobody uses."""
        allowed = dict(_permission(line) for line in self.allowed)
        used: set[tuple[str, str]] = set()
        wrong = sorted(
            f"{importer} imports {package} (line {line})"
            for importer, package, line in _outside_imports(graph)
            if not self._may(importer, package, allowed, used)
        )
        idle = sorted(
            f"nothing in {owner} imports {package}"
            for package, owners in allowed.items()
            for owner in owners
            if (package, owner) not in used
        )
        return ContractCheck(kept=not wrong and not idle, metadata={"problems": wrong + idle})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print them."""
        for problem in check.metadata["problems"]:
            output.print_error(f"- {problem}")

    def _may(
        self, importer: str, package: str, allowed: dict[str, list[str]], used: set[tuple[str, str]]
    ) -> bool:
        if package in sys.stdlib_module_names:
            pure = any(_is_in(importer, module) for module in self.pure_modules)
            return not pure or package in self.standard_library
        owners = [owner for owner in allowed.get(package, ()) if _is_in(importer, owner)]
        used.update((package, owner) for owner in owners)
        return bool(owners)


def _permission(line: str) -> tuple[str, list[str]]:
    package, _, owners = line.partition(":")
    return package.strip(), owners.split()


def _outside_imports(graph: ImportGraph) -> Iterator[tuple[str, str, int]]:
    """Yield importer, top-level package and line of all imports from outside."""
    for outside in (module for module in graph.modules if graph.is_module_squashed(module)):
        for importer in graph.find_modules_that_directly_import(outside):
            line = graph.get_import_details(importer=importer, imported=outside)[0]["line_number"]
            yield importer, outside.partition(".")[0], line


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
