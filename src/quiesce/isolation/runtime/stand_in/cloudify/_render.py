"""Jinja templates; in the ``ctx`` command the installed packages are found only when this is needed."""

from __future__ import annotations

import sys


def render(text: str, variables: dict[str, object]) -> str:
    """Return the template *text* with *variables* filled in."""
    if sys.flags.no_site:
        import site

        site.main()
    import jinja2

    environment = jinja2.Environment(keep_trailing_newline=True)  # noqa: S701  plain text, not HTML
    return environment.from_string(text).render(variables)
