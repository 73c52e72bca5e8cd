"""A repository in which every point is a full one: encrypted, shared, in any storage, without locks.

Content is cut into blobs, addressed by a keyed hash, compressed, encrypted and gathered in packs. A point
lists everything that one instance needs; none builds on another, and any may be removed. The format, exact to
the byte: ``docs/repository-format.md``.

    repository = Repository.create(DirectoryStorage(path), FileKey.new())
    with repository.write() as session:
        item, saved = session.add_tree(root)
        session.commit(Point(key=key, made_at=time.time(), items={"data": item}))
    repository.reader(key).restore_tree("data", empty_directory)
"""

from quiesce.repository.checking import CheckRange, RepositoryChecked
from quiesce.repository.collecting import Collected
from quiesce.repository.comparing import Difference, EntryDifference, differences
from quiesce.repository.content_draft import StreamDraft, blocks_of
from quiesce.repository.keys import Credential, FileKey, Passphrase
from quiesce.repository.points import Point, PointItem, PointKey, StoredPoints
from quiesce.repository.removing import RemovedPoint
from quiesce.repository.repository import (
    IndexRebuilt,
    PointsCopied,
    Repository,
    RepositoryFigures,
    RepositoryKey,
)
from quiesce.repository.restoring import PointReader
from quiesce.repository.saving_trees import TreeSaved
from quiesce.repository.session import WriterSession
from quiesce.repository.storing import StoredFigures
from quiesce.repository.tree_draft import TreeDraft
from quiesce.repository.trees import HARD_LINK, SPARSE, TreeEntry, kind_of
from quiesce.repository.verifying import PointsVerified

__all__ = [
    "HARD_LINK",
    "SPARSE",
    "CheckRange",
    "Collected",
    "Credential",
    "Difference",
    "EntryDifference",
    "FileKey",
    "IndexRebuilt",
    "Passphrase",
    "Point",
    "PointItem",
    "PointKey",
    "PointReader",
    "PointsCopied",
    "PointsVerified",
    "RemovedPoint",
    "Repository",
    "RepositoryChecked",
    "RepositoryFigures",
    "RepositoryKey",
    "StoredFigures",
    "StoredPoints",
    "StreamDraft",
    "TreeDraft",
    "TreeEntry",
    "TreeSaved",
    "WriterSession",
    "blocks_of",
    "differences",
    "kind_of",
]
