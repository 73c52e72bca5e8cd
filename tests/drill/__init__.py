"""The restore drill: a real application, restored again and again while parts of quiesce are killed.

What judges it shares no code with quiesce: it asks PostgreSQL, Redis, the web and the file system.
"""
