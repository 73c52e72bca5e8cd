"""Reading: from files and imports to one mapping of sections, every value with its position.

Text is parsed (`yaml_text`), imports are found (`sources`) and followed (`imports`), their names put into
namespaces (`namespaces`), and all of it merged (`merging`). What a value *is* as text is known here too: the
versions of the DSL, its primitive types, what is written as a function.
"""
