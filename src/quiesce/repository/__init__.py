"""A directory that holds backups, and knows which of them are complete and undamaged.

Layout: ``<root>/<deployment>/<point>/<instance>/``, each with its files and, written last, a manifest.
A mark in the root tells a repository from an empty mount point.
Beside the instances lies the manifest of the whole restore point, the catalog's (`stores.manifests`).
Everything is private to the user. What is there is safe against a power cut: a manifest is either
absent (a *draft*) or complete, and every byte that it vouches for is on the disk before it.

    repository = Repository(Path(settings.repository_dir))
    draft = repository.begin(place, execution=call.execution, provider="host")
    with draft.create("tree.tar", Compression.GZIP) as out:
        out.write(b"...")
    manifest = draft.complete(function=call.function, consistency=Consistency.CRASH)
"""

from quiesce.repository.draft import Draft
from quiesce.repository.manifest import BackupKey, Compression, Manifest, StoredFile
from quiesce.repository.repository import MARK, Contents, Damage, Repository
from quiesce.repository.streams import FileReader, FileWriter, require_same

__all__ = [
    "MARK",
    "BackupKey",
    "Compression",
    "Contents",
    "Damage",
    "Draft",
    "FileReader",
    "FileWriter",
    "Manifest",
    "Repository",
    "StoredFile",
    "require_same",
]
