"""What providers share: one way to do each thing that every platform needs.

`dispatch` from a call to the method that answers it; `options` that operators choose; `ownership` of what
quiesce makes; `deadline` and `listing` for waiting; `connections`, `saving`, `artifact` and `discovery`.
"""
