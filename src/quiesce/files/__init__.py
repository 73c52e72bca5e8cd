"""Users' trees: the only code that opens, walks, writes, exchanges and removes them.

Root runs it over directories whose owners may be hostile and quick. A declared path is looked up once
(`open_declared`); from there on everything goes by directory descriptors and single names, as bytes. No
link is followed, no mount is crossed, nothing special is opened, no write is cut short unsaid.

    with open_declared("/srv/data") as declared:
        root = declared.open()
        with contextlib.closing(iter(walk := Walk(root))) as entries:
            for entry in entries:
                ...

What each part promises, and by which system calls: ``docs/files.md``.
"""
