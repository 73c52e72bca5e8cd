"""Reads a blueprint with everything it imports, in the order in which it is merged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quiesce.blueprint.reading import versions
from quiesce.blueprint.reading.problems import InvalidBlueprintError, Position, Problem, Problems, suggestion
from quiesce.blueprint.reading.source_map import SourceMap, Value, key_position, value_position
from quiesce.blueprint.reading.sources import ImportPolicy, Resolver, Source, main_file
from quiesce.blueprint.reading.versions import DslVersion

#: what separates a namespace from what it is put before
DELIMITER: Final = "--"
#: more files than this in one blueprint are refused
MAX_FILES: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file that was read, and the namespace that its names get."""

    source: Source
    content: SourceMap
    namespace: str = ""
    #: whether it defines the basic types, whose names never get a namespace
    basic: bool = False
    #: the values for its plugins' properties, given by the import
    properties: SourceMap | None = None
    #: the names of the sources that led here, this one included
    trail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The main file first, then what it imports, breadth first."""

    version: DslVersion
    all: tuple[Document, ...]


@dataclass(slots=True)
class _ImportWalk:
    resolver: Resolver
    version: DslVersion
    problems: Problems
    found: dict[tuple[str, str], Document] = field(default_factory=dict)
    waiting: deque[Document] = field(default_factory=deque)


def read_documents(path: Path, policy: ImportPolicy, problems: Problems) -> Documents:
    """Read the blueprint at *path* and all that it imports.

    Raises:
        InvalidBlueprintError: when the main file cannot be read or has no version. What is wrong with
            imports is added to *problems*.
    """
    real = main_file(path)
    main = Source(name=str(real))
    content = main.read()
    version = _main_version(content)
    walk = _ImportWalk(Resolver(policy, real, version), version, problems)
    _add(walk, Document(source=main, content=content, trail=(main.name,)))
    while walk.waiting:
        _follow(walk, walk.waiting.popleft())
    return Documents(version=version, all=tuple(walk.found.values()))


def _main_version(content: SourceMap) -> DslVersion:
    problems = Problems()
    if versions.KEY not in content:
        problems.add(
            content.position, f"the main file must give its {versions.KEY}", f"for example {versions.V1_3}"
        )
    name = content.get(versions.KEY)
    version = DslVersion.of(name)
    if version is None:
        remedy = suggestion(name, versions.VERSIONS, listed="supported are")
        problems.add(
            value_position(content, versions.KEY),
            f"{name!r} is not a version of the DSL that we read",
            remedy,
        )
    problems.stop_if_any()
    return version or versions.V1_3


def _add(walk: _ImportWalk, document: Document) -> None:
    walk.found[document.source.name, document.namespace] = document
    walk.waiting.append(document)


def _follow(walk: _ImportWalk, parent: Document) -> None:
    for text, properties, position in _imports_of(parent.content, walk.problems):
        if len(walk.found) > MAX_FILES:
            walk.problems.add(position, f"the blueprint imports more than {MAX_FILES} files")
            return
        _import(walk, parent, text, properties, position)


def _imports_of(content: SourceMap, problems: Problems) -> Iterator[tuple[str, SourceMap | None, Position]]:
    """Yield text, plugin properties and place of each import."""
    imports = content.get("imports")
    if imports is None:
        return
    if not isinstance(imports, list):
        problems.add(value_position(content, "imports"), "'imports' must be a list")
        return
    seen: set[str] = set()
    for index, item in enumerate(imports):
        position = value_position(imports, index)
        text, properties = _import_item(item)
        if text is None:
            problems.add(position, "an import must be a string, or a mapping with one string as its key")
        elif text in seen:
            problems.add(position, f"{text!r} is imported twice", "keep one of them")
        else:
            seen.add(text)
            yield text, properties, position


def _import_item(item: Value) -> tuple[str | None, SourceMap | None]:
    if isinstance(item, str):
        return item, None
    if isinstance(item, SourceMap) and len(item) == 1:
        [(text, properties)] = item.items()
        if isinstance(text, str):
            return text, properties if isinstance(properties, SourceMap) else None
    return None, None


def _import(
    walk: _ImportWalk, parent: Document, text: str, properties: SourceMap | None, position: Position
) -> None:
    own, _, target = text.rpartition(DELIMITER)
    if DELIMITER in own:
        walk.problems.add(
            position, f"a namespace cannot contain {DELIMITER!r}", "name the import with one namespace"
        )
        return
    namespace = DELIMITER.join(part for part in (parent.namespace, own) if part)
    wanted = _Import(namespace=namespace, own_namespace=own, properties=properties, position=position)
    for source in walk.resolver.resolve(target, parent.source, position, walk.problems):
        _import_source(walk, parent, source, wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Import:
    """One import as a file writes it."""

    #: of everything around, and its own
    namespace: str
    own_namespace: str
    properties: SourceMap | None
    position: Position


def _import_source(walk: _ImportWalk, parent: Document, source: Source, wanted: _Import) -> None:
    problems = walk.problems
    if source.name in parent.trail:
        chain = " -> ".join(Path(name).name for name in (*parent.trail, source.name))
        problems.add(wanted.position, f"circular import: {chain}", "remove it")
        return
    unprefixed = walk.found.get((source.name, ""))
    if (source.name, wanted.namespace) in walk.found or (
        unprefixed and unprefixed.basic and not wanted.own_namespace
    ):
        return
    try:
        content = source.read()
    except InvalidBlueprintError as error:
        for problem in error.problems:
            _note(problem, wanted.position, problems)
        return
    basic = defines_basic_types(content)
    if basic and wanted.own_namespace:
        problems.add(
            wanted.position,
            f"the basic types cannot be put into the namespace {wanted.own_namespace!r}",
            "import them without one",
        )
        return
    _check_version(walk, content, wanted.position)
    _add(
        walk,
        Document(
            source=source,
            content=content,
            namespace="" if basic else wanted.namespace,
            basic=basic,
            properties=wanted.properties,
            trail=(*parent.trail, source.name),
        ),
    )


def _note(problem: Problem, importer: Position, problems: Problems) -> None:
    """Note a problem of an imported file; of a file as a whole, at the place that imports it."""
    if problem.position.line:
        problems.found.append(problem)
    else:
        problems.add(importer, f"{problem.position.file}: {problem.what}", problem.remedy)


def defines_basic_types(content: SourceMap) -> bool:
    """Tell whether *content* is a ``types.yaml``, or an addition to it."""
    metadata, node_types = content.get("metadata"), content.get("node_types")
    says_so = isinstance(metadata, dict) and bool(metadata.get("cloudify_types"))
    return says_so or (isinstance(node_types, dict) and "cloudify.nodes.Root" in node_types)


def _check_version(walk: _ImportWalk, content: SourceMap, position: Position) -> None:
    if versions.KEY not in content:
        return
    name = content[versions.KEY]
    version = DslVersion.of(name)
    where = key_position(content, versions.KEY)
    if version is None:
        remedy = suggestion(name, versions.VERSIONS, listed="supported are")
        walk.problems.add(where, f"{name!r} is not a version of the DSL that we read", remedy)
    elif version > walk.version:
        what = f"the imported file needs {version}, the main file has {walk.version}"
        walk.problems.warn(position, what, f"write {versions.KEY}: {version} in the main file")
