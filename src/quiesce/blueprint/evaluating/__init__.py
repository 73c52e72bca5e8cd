"""Evaluating: what intrinsic functions give, before a deployment lives (`static`) and while it does (`live`).

`evaluator` is common to both; `pure_functions` need nothing but their arguments; `deployment` shows a
stored deployment to its operations, functions evaluated when they are asked for.
"""
