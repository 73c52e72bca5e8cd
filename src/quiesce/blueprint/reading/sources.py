"""Where the text of an import comes from: files, mappings, shipped packs and, when asked, the network."""

from __future__ import annotations

import errno
import functools
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from quiesce.blueprint import packs
from quiesce.blueprint.reading import shorthand
from quiesce.blueprint.reading.problems import InvalidBlueprintError, Position, Problem, Problems, suggestion
from quiesce.blueprint.reading.source_map import SourceMap, Value, plain_map
from quiesce.blueprint.reading.versions import DslVersion
from quiesce.blueprint.reading.yaml_text import MAX_BYTES, parse_yaml, too_large
from quiesce.errors import QuiesceError, UntrustedPathError
from quiesce.files.reading import read_named
from quiesce.files.trust import open_declared
from quiesce.isolation.patience import within
from quiesce.model.ids import Json

_NETWORK: Final = ("http", "https")
_TIMEOUT_S: Final = 20.0
_CHUNK_BYTES: Final = 65536
_MAP_HINT: Final = "say which file stands for it: --map {text}=FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPolicy:
    """What a blueprint may import, and what stands for what it names."""

    #: an import that contains the text, as whole words, and is no file of the blueprint is read from the
    #: file; the first that fits counts
    mappings: tuple[tuple[str, Path], ...] = ()
    #: directories, besides the blueprint's own, from which absolute paths and ``file:`` URLs may be read
    roots: tuple[Path, ...] = ()
    #: whether ``https:`` imports that nothing else answers are fetched
    network: bool = False
    #: whether the type packs of quiesce answer the imports that they know
    packs: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file, by a name that is the same whenever it is the same file."""

    #: absolute path, or URL
    name: str
    #: whether it is one of our own packs
    shipped: bool = False

    @property
    def directory(self) -> Path | None:
        """Where relative imports of this source are looked for."""
        return None if urlsplit(self.name).scheme in _NETWORK else Path(self.name).parent

    def read(self) -> SourceMap:
        """Return what the source says.

        Raises:
            InvalidBlueprintError: when it cannot be read or understood.
        """
        if self.shipped:
            return _shipped(self.name)
        if urlsplit(self.name).scheme in _NETWORK:
            return _as_map(parse_yaml(_fetch(self.name), self.name), self.name)
        return read_file(Path(self.name))


def read_file(path: Path) -> SourceMap:
    """Return what the YAML file at *path* says.

    Raises:
        InvalidBlueprintError: when it is no regular file, too large, or not a YAML mapping.
    """
    name = str(path)
    try:
        data = read_named(path, at_most=MAX_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise too_large(name) from error
        raise _unreadable(name, error.strerror or str(error)) from error
    return _as_map(parse_yaml(data, name), name)


def main_file(path: Path) -> Path:
    """Return where the blueprint at *path* is.

    Raises:
        InvalidBlueprintError: when it can be no file, or lies behind somebody else's link.
    """
    try:
        return Path(_real(path))
    except (QuiesceError, OSError, ValueError) as error:
        raise _unreadable(str(path), str(error)) from error


class Resolver:
    """Finds what an import means under one policy, for one main blueprint."""

    def __init__(self, policy: ImportPolicy, main: Path, version: DslVersion) -> None:
        self._policy = policy
        self._main = main
        self._version = version
        self._roots = [path.resolve() for path in (main.parent, *policy.roots)]

    def resolve(
        self, text: str, importer: Source, position: Position, problems: Problems
    ) -> tuple[Source, ...]:
        """Return the sources that *text* in *importer* stands for; none after adding a problem."""
        scheme, _, rest = text.partition(":")
        if scheme in {"plugin", "blueprint", "ftp", *_NETWORK} and rest:
            return self._by_name(text, scheme, position, problems)
        try:
            return self._by_path(text, importer, position, problems)
        except UntrustedPathError as error:
            problems.add(position, f"{_short(text)[:80]!r} is not read: {error}", error.hint)
            return ()
        except (OSError, ValueError) as error:
            # too long a name, no name at all, a URL that is none
            problems.add(
                position, f"{_short(text)[:80]!r} can be no file: {getattr(error, 'strerror', None) or error}"
            )
            return ()

    def _mapped(self, text: str) -> tuple[Source, ...]:
        for part, file in self._policy.mappings:
            if _contains_words(text, part):
                return (Source(name=_real(file)),)
        return ()

    def _pack(self, text: str) -> tuple[Source, ...]:
        pack = packs.pack_for(text) if self._policy.packs else None
        files = packs.files_of(pack, self._version) if pack else ()
        return tuple(Source(name=str(file), shipped=True) for file in files)

    def _by_name(self, text: str, scheme: str, position: Position, problems: Problems) -> tuple[Source, ...]:
        found = self._mapped(text) or self._pack(text)
        if found:
            return found
        if scheme == "https" and self._policy.network:
            return (Source(name=text),)
        hint = _MAP_HINT.format(text=_short(text))
        if scheme == "plugin":
            name = text.removeprefix("plugin:").partition("?")[0]
            near = suggestion(name, packs.names(), listed="shipped with quiesce are")
            problems.add(position, f"quiesce ships no type pack for {text!r}", f"{hint} ({near})")
        elif scheme == "blueprint":
            problems.add(
                position, f"{text!r} is a blueprint on a Cloudify Manager, which cannot be asked here", hint
            )
        elif scheme == "http" and self._policy.network:
            problems.add(position, f"{text!r} is not read: anybody on the way could change it", hint)
        else:
            problems.add(position, f"{text!r} is not read over the network unless you ask for it", hint)
        return ()

    def _by_path(
        self, text: str, importer: Source, position: Position, problems: Problems
    ) -> tuple[Source, ...]:
        candidates = [each for each in self._candidates(text, importer) if str(each) != importer.name]
        found = next((path for path in candidates if path.exists()), None)
        if found is None:
            return self._stand_in(text, candidates) or self._missing(text, candidates, position, problems)
        if self._allowed(found) or self._is_relative(text, found, importer):
            return (Source(name=_real(found)),)
        mapped = self._mapped(text) or (self._pack(text) if packs.pack_for(text) == packs.OWN else ())
        if not mapped:
            problems.add(
                position,
                f"{text!r} is outside the blueprint's directory",
                f"move it there, or {_MAP_HINT.format(text=_short(text))}",
            )
        return mapped

    def _candidates(self, text: str, importer: Source) -> Iterator[Path]:
        """Yield where *text* may be, as cloudify-common looks for it beside the main file.

        From the main file's directory, the file of the DSL version comes before the plain one. From another
        importer's, the plain one comes first.
        """
        if text.startswith("file:"):
            yield Path(unquote(urlsplit(text).path))
            return
        main = self._main.parent
        if importer.directory not in (None, main) and not _is_absolute(text):
            yield importer.directory / text
        path = main / text
        versioned = path.with_name(f"{path.stem}_{self._version.major}_{self._version.minor}{path.suffix}")
        if versioned.is_file():
            yield versioned
        yield path

    def _allowed(self, path: Path) -> bool:
        real = path.resolve()
        return any(real.is_relative_to(root) for root in self._roots)

    def _is_relative(self, text: str, path: Path, importer: Source) -> bool:
        """Tell whether *text* leads by names to *path* within what belongs to the blueprint or its importer.

        That is the directory of the main file, or the checkout that it is part of, and the importer's own.
        """
        if _is_absolute(text):
            return False
        main = self._main.parent
        checkout = next((above for above in (main, *main.parents) if (above / ".git").exists()), main)
        named = Path(os.path.normpath(path))
        own = [directory for directory in (checkout, importer.directory) if directory is not None]
        return any(named.is_relative_to(os.path.normpath(directory)) for directory in own)

    def _stand_in(self, text: str, candidates: list[Path]) -> tuple[Source, ...]:
        """Answer an import of a file that is not there by a mapping or a pack that fits its whole path."""
        for path in candidates:
            full = os.path.normpath(path)
            found = self._mapped(full) or self._pack(text) or self._pack(full)
            if found:
                return found
        return ()

    def _missing(
        self, text: str, candidates: list[Path], position: Position, problems: Problems
    ) -> tuple[Source, ...]:
        folder = candidates[0].parent
        near = [path.name for path in sorted(folder.glob("*.y*ml"))] if folder.is_dir() else []
        hint = suggestion(Path(text).name, near, listed=f"in {folder} there is")
        problems.add(
            position,
            f"there is no file {text!r} to import",
            f"{hint}; or {_MAP_HINT.format(text=_short(text))}",
        )
        return ()


def _contains_words(text: str, part: str) -> bool:
    """Tell whether *part* stands in *text*, not as the end or the beginning of a longer word."""
    before = r"(?<!\w)" if re.match(r"\w", part) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", part) else ""
    return re.search(before + re.escape(part) + after, text) is not None


def _is_absolute(text: str) -> bool:
    return text.startswith(("/", "file:"))


def _short(text: str) -> str:
    """Return the part of an import that names it best in a mapping."""
    bare = text.removeprefix("plugin:").partition("?")[0]
    parts = [part for part in bare.split("/") if part]
    return parts[-1] if parts else bare


@functools.cache
def _shipped(name: str) -> SourceMap:
    return shorthand.expanded(read_file(Path(name)), name)


def brought_sections(distribution: str) -> dict[str, dict[str, Json]]:
    """Return what the providers of *distribution* bring, as plain DSL: the entries of each section."""
    merged: dict[str, dict[str, Json]] = {}
    for file in packs.own_files(distribution):
        for section, entries in _shipped(str(file)).items():
            if isinstance(entries, dict):
                merged.setdefault(section, {}).update(plain_map(entries))
    return merged


def _as_map(value: Value, name: str) -> SourceMap:
    if isinstance(value, SourceMap):
        return value
    position = Position(name, 1, 1)
    raise InvalidBlueprintError([Problem(position=position, what="a blueprint file must be a mapping")])


def _real(path: Path) -> str:
    """Return where *path* leads, by links of ours alone.

    Raises:
        UntrustedPathError: when somebody else made a link on the way: it may lead where they may not read.
    """
    with open_declared(os.path.normpath(path.absolute()), replaceable=True) as declared:
        return os.fsdecode(declared.path)


def _unreadable(name: str, why: str) -> InvalidBlueprintError:
    return InvalidBlueprintError([Problem(position=Position(name), what=f"the file cannot be read: {why}")])


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows no redirection to what is not https."""

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        """Return the request that follows."""
        following = super().redirect_request(*arguments)
        if following is not None and following.type != "https":
            arguments[1].close()
            raise urllib.error.URLError("it redirects to what is not https")
        return following


def _fetch(url: str) -> bytes:
    """Return what lies at *url*; `_TIMEOUT_S` bounds each wait, and all of them together."""
    try:
        return within(_TIMEOUT_S, lambda: _answer_of(url))
    except TimeoutError as error:
        raise _unreadable(url, f"it was not read within {_TIMEOUT_S:g} s") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        raise _unreadable(url, str(error)) from error


def _answer_of(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "quiesce"})  # noqa: S310  only https comes here
    data = b""
    try:
        with urllib.request.build_opener(_HttpsOnly).open(request, timeout=_TIMEOUT_S) as answer:
            while (chunk := answer.read1(_CHUNK_BYTES)) and len(data) <= MAX_BYTES:
                data += chunk
    except urllib.error.HTTPError as refusal:
        refusal.close()
        raise
    return data
