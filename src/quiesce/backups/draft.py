"""A backup that is being made, until its point makes it complete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quiesce.backups.home import BackupHome
from quiesce.backups.manifest import BackupKey, Manifest, StoredItem, artifact_of_items, item_name
from quiesce.backups.streams import ItemReader, ItemWriter, Progress, nobody
from quiesce.errors import ForeignObjectError, NonRecoverableError
from quiesce.files.durable import make_private_directory, storage_errors, write_durably
from quiesce.files.reading import open_regular_file, read_regular
from quiesce.model.consistency import Consistency
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, Json

if TYPE_CHECKING:
    from quiesce.repository import PointItem, Repository, StreamDraft, TreeDraft, WriterSession

_NOTE: Final = "draft.json"
_FORMAT: Final = "quiesce-draft"
_NOTE_BYTES: Final = 16 << 20
#: far less than the grace of any repository
_LATELY_S: Final = 3600.0
_PIECE_BYTES: Final = 1 << 20


class Draft:
    """One instance's backup on its way. Made by `Backups.begin` only.

    It is taken up by the execution that began it: `finished` tells which items need not be stored again.
    """

    def __init__(
        self, url: str, home: BackupHome, place: BackupKey, execution: ExecutionId, provider: str
    ) -> None:
        self.place = place
        self.execution = execution
        self.provider = provider
        #: private, for what programs write before it is stored
        self.directory = draft_directory(home, url, place)
        self._url = url
        self._home = home
        self._finished: dict[str, StoredItem] = {}
        #: by earlier attempts
        self._stored_before = 0
        self._lock = threading.RLock()
        self._held = ExitStack()
        self._writing: tuple[Repository, WriterSession] | None = None
        weakref.finalize(self, self._held.close)

    @property
    def finished(self) -> Mapping[str, StoredItem]:
        """The items that are durable already, by name."""
        return self._finished

    def path(self, name: str) -> Path:
        """Return where a program is to write what `adopt` stores."""
        return self.directory / item_name(name)

    def create(self, name: str, progress: Progress = nobody) -> ItemWriter:
        """Return a new stream to write to, empty even when an earlier attempt had begun it."""
        stream = self._begin(name).stream()
        return ItemWriter(stream, lambda ended: self._end_stream(name, ended), progress)

    def adopt(self, name: str, progress: Progress = nobody) -> StoredItem:
        """Store what a program has written at `path`, and remove it there."""
        path = self.path(name)
        with storage_errors(f"store {path}"):
            with open_regular_file(path) as file, self.create(name, progress) as out:
                shutil.copyfileobj(file, out, _PIECE_BYTES)
            path.unlink()
        return self._finished[name]

    @contextmanager
    def tree(self, name: str) -> Iterator[TreeDraft]:
        """Give a tree to which entries are added; it is durable when the block has ended."""
        session = self._begin(name)
        tree = session.tree()
        yield tree
        self._enter(name, session.end_tree(tree))

    def store_disk(
        self,
        name: str,
        size_bytes: int,
        read: Callable[[int, int], bytes],
        *,
        data: Iterable[tuple[int, int]],
        previous: StoredItem | None = None,
    ) -> StoredItem:
        """Store a disk, of which *data* (offset and length, in order) is read.

        The rest is zeros, or with *previous* as it was there.
        """
        session = self._begin(name)
        before = None if previous is None else previous.item
        self._enter(name, session.add_disk(size_bytes, read, data=data, previous=before))
        return self._finished[name]

    def forget(self, name: str) -> None:
        """Let the item *name* count as not stored."""
        with self._lock:
            if self._finished.pop(item_name(name), None) is not None:
                self._write()

    def doubt(self, stored: StoredItem) -> None:
        """Store anew what an earlier backup's item consists of, as far as it is damaged."""
        self._session()[1].doubt(stored.item)

    def read(self, name: str) -> bytes:
        """Return what a finished stream holds; for small ones."""
        _, session = self._session()
        reader = session.reader({name: self._finished[name].item})
        with ItemReader(reader, name, nobody, let_go=lambda: None) as stored:
            return stored.read()

    def complete(
        self,
        *,
        function: str,
        consistency: Consistency,
        cut_at: float | None = None,
        made_at: float = 0.0,
        content: Mapping[str, Json] | None = None,
        note: str = "",
    ) -> Manifest:
        """Write the point of every finished item; the backup is complete when this returns.

        *content* is the provider's artifact; its ``files`` and ``size_bytes`` are filled in, and which
        repository it lies in.
        """
        repository, session = self._session()
        items = {name: self._finished[name] for name in sorted(self._finished)}
        manifest = Manifest(
            place=self.place,
            execution=self.execution,
            provider=self.provider,
            function=function,
            consistency=consistency,
            items=items,
            cut_at=cut_at,
            made_at=made_at,
            content={
                **(content or {}),
                **artifact_of_items(items, repository.id, self._stored),
            },
            note=note,
        )
        session.commit(manifest.as_point())
        self._held.close()
        self._writing = None
        remove_draft(self.directory)
        return manifest

    def was_begun_lately(self) -> bool:
        """Tell whether this execution has begun it so lately that the repository need not be asked again."""
        noted = _read(self.directory)
        if noted is None or noted["execution"] != self.execution:
            return False
        return bool(0 <= time.time() - noted["noted_at"] < _LATELY_S)

    def take_up(self, *, believing: bool = False) -> None:
        """Begin, or continue what the same execution had begun; *believing* that what it stored is there.

        Raises:
            ForeignObjectError: when what is there is not this execution's.
        """
        noted = _read(self.directory)
        if noted is None:
            self._write()
            return
        if noted["execution"] != self.execution:
            raise ForeignObjectError(
                f"the backup of {self.place} is being written by execution {noted['execution']}",
                hint="Remove what it left with 'quiesce remove-backup', or choose another snapshot_name.",
            )
        self._finished, self._stored_before = _items_of(noted), noted["stored_bytes"]
        if self._finished and not (believing and self.was_begun_lately()):
            _, session = self._session()
            self._finished = {
                name: stored for name, stored in self._finished.items() if session.rely_on(stored.item)
            }

    @property
    def _stored(self) -> int:
        """How many bytes this backup has added to the repository by now."""
        now = self._writing[1].figures.packed_bytes if self._writing is not None else 0
        return self._stored_before + now

    def _session(self) -> tuple[Repository, WriterSession]:
        with self._lock:
            if self._writing is None:
                repository = self._held.enter_context(self._home.opened_or_made(self._url))
                self._writing = repository, self._held.enter_context(repository.write())
            return self._writing

    def _begin(self, name: str) -> WriterSession:
        self.forget(name)
        return self._session()[1]

    def _end_stream(self, name: str, stream: StreamDraft) -> None:
        self._enter(name, self._session()[1].end_stream(stream))

    def _enter(self, name: str, item: PointItem) -> None:
        with self._lock:
            self._session()[1].flush()
            self._finished[name] = StoredItem(name=name, item=item)
            self._write()

    def _write(self) -> None:
        body = {
            "format": _FORMAT,
            "execution": self.execution,
            "deployment": self.place.deployment,
            "point": self.place.point,
            "instance": self.place.instance,
            "repository": self._url,
            "noted_at": time.time(),
            "stored_bytes": self._stored,
            "items": {name: stored.item.as_json() for name, stored in self._finished.items()},
        }
        with storage_errors(f"write {self.directory}"):
            make_private_directory(self.directory.parent)
            make_private_directory(self.directory)
            write_durably(self.directory / _NOTE, json.dumps(body).encode())


def draft_directory(home: BackupHome, url: str, place: BackupKey) -> Path:
    """Return where it is noted what is stored of a backup that is not complete."""
    named = json.dumps([url, place.deployment, place.point, place.instance])
    return home.drafts / hashlib.sha256(named.encode()).hexdigest()[:40]


def drafted_by(directory: Path) -> ExecutionId | None:
    """Return which execution has begun what is noted in *directory*; None: nothing is."""
    noted = _read(directory)
    return None if noted is None else ExecutionId(noted["execution"])


def remove_draft(directory: Path) -> None:
    """Forget what was noted in *directory*, and what programs have left there; fine when nothing is."""
    with storage_errors(f"remove {directory}"), contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


def drafts_in(home: BackupHome, url: str) -> Iterator[BackupKey]:
    """Yield the backups of which this home has begun to write to *url*, and not ended."""
    for directory in sorted(home.drafts.iterdir()) if home.drafts.is_dir() else ():
        noted = _read(directory)
        if noted is not None and noted["repository"] == url:
            yield BackupKey(
                deployment=DeploymentName(str(noted["deployment"])),
                point=BackupName(str(noted["point"])),
                instance=InstanceId(str(noted["instance"])),
            )


def _read(directory: Path) -> dict[str, Any] | None:
    path = directory / _NOTE
    try:
        data = json.loads(read_regular(path, at_most=_NOTE_BYTES))
        if data["format"] != _FORMAT:
            raise ValueError(f"it is {data['format']}")
        _items_of(data)
        told = {"noted_at": float(data["noted_at"]), "stored_bytes": int(data["stored_bytes"])}
        return {**data, **told, "execution": str(data["execution"])}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise NonRecoverableError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NonRecoverableError(f"{path} is damaged: {error}", hint="Remove that directory.") from error


def _items_of(noted: Mapping[str, Any]) -> dict[str, StoredItem]:
    from quiesce.repository import PointItem

    return {name: StoredItem(name=name, item=PointItem.of(item)) for name, item in noted["items"].items()}
