"""Runs a blueprint's own code (scripts, Python functions) in a child process that can be given up.

A child is the leader of a process group of its own, holds none of our file descriptors, and is killed with
its whole group when its time is over or when we die. It reaches its ``ctx`` over a Unix socket in a private
directory, as lines of JSON; nothing that it sends is ever run or unpickled here. What runs inside the child
lies in ``runtime`` and is never imported by quiesce itself.
"""
