"""The repositories as they are written today: a directory with an archive for each instance.

Their place is being taken by `quiesce.repository`, to which the data paths move one after the other; what
is here goes with the last of them.


Layout: ``<root>/<deployment>/<point>/<instance>/``, each with its files and, written last, a manifest.
A mark in the root tells a repository from an empty mount point.
Beside the instances lies the manifest of the whole restore point, the catalog's (`stores.manifests`).
Everything is private to the user. What is there is safe against a power cut: a manifest is either
absent (a *draft*) or complete, and every byte that it vouches for is on the disk before it.

    repository = Archives(Path(settings.repository_dir), Keyring(Path(settings.keys_file)))
    draft = repository.begin(place, execution=call.execution, provider="host")
    with draft.create("tree.tar", Compression.GZIP) as out:
        out.write(b"...")
    manifest = draft.complete(function=call.function, consistency=Consistency.CRASH)
"""

from quiesce.archives.archives import MARK, Archives, Contents, Damage
from quiesce.archives.draft import Draft
from quiesce.archives.keyring import KEYS_FILE, Keyring
from quiesce.archives.manifest import BackupKey, Compression, Manifest, StoredFile
from quiesce.archives.streams import FileReader, FileWriter, require_length, require_same

__all__ = [
    "KEYS_FILE",
    "MARK",
    "Archives",
    "BackupKey",
    "Compression",
    "Contents",
    "Damage",
    "Draft",
    "FileReader",
    "FileWriter",
    "Keyring",
    "Manifest",
    "StoredFile",
    "require_length",
    "require_same",
]
