"""Checking: from sections to a definition in which every name and type holds, or a list of problems.

`schema` compares each section with its shape; the other modules understand one section each, complete
types and templates with what they inherit, and note every problem with its position. `definition` calls
them in order. Functions are checked here and evaluated later.
"""
