"""What is new in a version is marked in the reference, by itself."""

from __future__ import annotations

from types import ModuleType


def test_what_was_not_there_before_is_marked_and_listed(generator: ModuleType) -> None:
    names = list(generator.since.all_names())
    new = {"option quiesce backup --full", "parameter restore to", "command quiesce serve", "key copy_to"}
    assert new <= set(names)
    before = {"0.9.0": [name for name in names if name not in new]}
    told = generator.since.Since(before, names, "0.10.0")
    page = generator.cli_page(told)
    assert page.count("*New in 0.10.0.*") == 2
    assert "may be repeated" in page
    section = page.partition("## quiesce backup DEPLOYMENT")[2].partition("\n## ")[0]
    assert next(line for line in section.splitlines() if "*New in" in line).startswith("| `--full`")
    serve = page.partition("## quiesce serve")[2].partition("\n## ")[0]
    assert "\n*New in 0.10.0.*\n" in serve
    restore = (generator.DOCS / "workflows" / "restore.md").read_text()
    assert "*New in 0.10.0.*" in generator.with_parameters(restore, "restore", told)
    listed = told.page()
    assert listed.index("## 0.10.0") < listed.index("## 0.9.0")
    for name in new:
        assert f"- `{name.partition(' ')[2]}`" in listed


def test_versions_are_numbers_and_what_is_gone_is_forgotten(generator: ModuleType) -> None:
    told = generator.since.Since(
        {"0.10.0": ["key b"], "0.9.0": ["key a", "key gone"]}, ["key a", "key b"], "0.11.0"
    )
    assert told.kept() == {"0.9.0": ["key a"], "0.10.0": ["key b"], "0.11.0": []}
    assert (told.mark("key a"), told.mark("key b")) == ("", " *New in 0.10.0.*")
