"""The backups of instances, as providers make and read them: each is a point of a repository.

A backup consists of named items: streams, disks and trees. While it is made, what is stored already is noted
in ``QUIESCE_HOME``, so that an interrupted one goes on; the point that makes it whole is written last.

    backups = Backups(url, BackupHome.of(settings))
    draft = backups.begin(place, execution=call.execution, provider="host")
    with draft.create("dump") as out:
        out.write(b"...")
    manifest = draft.complete(function=call.function, consistency=Consistency.CRASH)
"""

from quiesce.backups.backups import Backups
from quiesce.backups.draft import Draft, drafts_in
from quiesce.backups.home import DRAFTS, BackupHome
from quiesce.backups.keyring import KEYS_FILE, Keyring
from quiesce.backups.manifest import BackupKey, Manifest, StoredItem
from quiesce.backups.streams import ItemReader, ItemWriter, Progress

__all__ = [
    "DRAFTS",
    "KEYS_FILE",
    "BackupHome",
    "BackupKey",
    "Backups",
    "Draft",
    "ItemReader",
    "ItemWriter",
    "Keyring",
    "Manifest",
    "Progress",
    "StoredItem",
    "drafts_in",
]
