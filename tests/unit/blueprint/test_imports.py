"""Imports are found where they may be, and nowhere else."""

from __future__ import annotations

import io
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from quiesce.blueprint import ImportPolicy, InvalidBlueprintError, load_blueprint
from quiesce.blueprint.reading.sources import _HttpsOnly
from quiesce.blueprint.reading.yaml_text import MAX_BYTES
from quiesce.model.ids import NodeId

NODE = "node_templates: {app: {type: cloudify.nodes.Root}}\n"
PLAIN = "tosca_definitions_version: cloudify_dsl_1_3\n"
CASES = Path(__file__).parents[4] / "shared" / "cases"
CORPUS_TYPES = CASES.parent / "corpus" / "types" / "types_1_3.yaml"
TYPES = "node_types: {cloudify.nodes.Root: {}}\n"


def importing(*texts: str) -> str:
    return PLAIN + "imports:\n" + "".join(f"  - {text}\n" for text in texts)


def test_a_relative_import_is_found_next_to_the_file_that_imports_it(load: Any, directory: Path) -> None:
    """Each file's imports start from its own directory."""
    (directory / "parts").mkdir()
    (directory / "parts" / "a.yaml").write_text("imports: [b.yaml]\n")
    (directory / "parts" / "b.yaml").write_text(TYPES)
    blueprint = load(NODE, header=importing("parts/a.yaml"))
    assert [Path(source).name for source in blueprint.sources] == ["blueprint.yaml", "a.yaml", "b.yaml"]


@pytest.mark.parametrize("scheme", ["", "file:", "file://"])
def test_an_absolute_import_below_the_blueprint_is_read(load: Any, directory: Path, scheme: str) -> None:
    """A path and a URL of the same file are the same import."""
    (directory / "types_of_mine.yaml").write_text(TYPES)
    blueprint = load(NODE, header=importing(f"{scheme}{directory}/types_of_mine.yaml"))
    assert "app" in blueprint.nodes


@pytest.mark.parametrize("scheme", ["", "file:"])
def test_an_absolute_import_elsewhere_needs_to_be_allowed(
    load: Any, problems: Any, tmp_path_factory: pytest.TempPathFactory, scheme: str
) -> None:
    """A blueprint cannot name any file of the machine."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine.yaml").write_text(TYPES)
    header = importing(f"{scheme}{elsewhere}/mine.yaml")
    [problem] = problems(NODE, header=header)
    assert "is outside the blueprint's directory" in problem
    assert "app" in load(NODE, header=header, policy=ImportPolicy(roots=(elsewhere,))).nodes


def test_a_link_does_not_lead_out_of_the_blueprint(
    problems: Any, directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An absolute path counts as where it really is."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine.yaml").write_text(TYPES)
    (directory / "link.yaml").symlink_to(elsewhere / "mine.yaml")
    [problem] = problems(NODE, header=importing(f"{directory}/link.yaml"))
    assert "is outside the blueprint's directory" in problem


def test_a_mapping_answers_every_import_that_contains_its_text(load: Any, directory: Path) -> None:
    """URLs, plugins and files can be mapped alike; the first mapping that fits counts."""
    (directory / "mapped.yaml").write_text(TYPES)
    policy = ImportPolicy(packs=False, mappings=(("acme", directory / "mapped.yaml"),))
    for text in ("https://example.org/acme/plugin.yaml", "plugin:acme-plugin?version=>1.0", "acme.yaml"):
        assert "app" in load(NODE, header=importing(text), policy=policy).nodes


def box(kind: str) -> str:
    """Return a file of node types that is known again by *kind*."""
    properties = f"{{kind: {{default: {kind}}}}}"
    return (
        "node_types:\n"
        "  cloudify.nodes.Root: {}\n"
        f"  acme.Box: {{derived_from: cloudify.nodes.Root, properties: {properties}}}\n"
    )


def kind_of(load: Any, *texts: str, version: str = "1_4", policy: ImportPolicy | None = None) -> str:
    """Return which of several files was imported."""
    header = importing(*texts).replace("cloudify_dsl_1_3", f"cloudify_dsl_{version}")
    text = "node_templates: {box: {type: acme.Box}}\n"
    kind: str = load(text, header=header, policy=policy or ImportPolicy()).nodes["box"].properties["kind"]
    return kind


@pytest.mark.parametrize("there", ["types.yaml", "my_types.yaml", "manager-types.yaml", "types/types.yaml"])
@pytest.mark.parametrize("text", ["types.yaml", "types", "yaml", "manager-types.yaml"])
def test_a_mapping_never_wins_over_a_file_that_is_there(
    load: Any, directory: Path, tmp_path_factory: pytest.TempPathFactory, there: str, text: str
) -> None:
    """A mapping answers what cannot be read otherwise; a file of the blueprint can."""
    (directory / there).parent.mkdir(exist_ok=True)
    (directory / there).write_text(box("local"))
    mapped = tmp_path_factory.mktemp("elsewhere") / "mapped.yaml"
    mapped.write_text(box("mapped"))
    policy = ImportPolicy(mappings=((text, mapped),))
    assert kind_of(load, there, policy=policy) == "local"
    assert kind_of(load, f"{directory}/{there}", policy=policy) == "local"
    assert kind_of(load, f"file:{directory}/{there}", policy=policy) == "local"


def test_a_file_next_to_the_importer_wins_over_a_mapping(load: Any, directory: Path) -> None:
    """Each file's imports start from its own directory, whatever is mapped."""
    (directory / "parts").mkdir()
    (directory / "parts" / "all.yaml").write_text("imports: [types.yaml]\n")
    (directory / "parts" / "types.yaml").write_text(box("local"))
    (directory / "mapped.yaml").write_text(box("mapped"))
    policy = ImportPolicy(mappings=(("types.yaml", directory / "mapped.yaml"),))
    assert kind_of(load, "parts/all.yaml", policy=policy) == "local"


def test_a_file_that_may_not_be_read_can_be_mapped(
    load: Any, directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Outside the blueprint's directory a file counts as if it were not there."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "types.yaml"
    elsewhere.write_text(box("outside"))
    (directory / "mapped.yaml").write_text(box("mapped"))
    policy = ImportPolicy(mappings=(("types.yaml", directory / "mapped.yaml"),))
    assert kind_of(load, str(elsewhere), policy=policy) == "mapped"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("types.yaml", "my_types.yaml"),
        ("types", "mytypes.yaml"),
        ("gcp", "plugin:cloudify-gcpx-plugin"),
    ],
)
def test_a_mapping_fits_whole_words(problems: Any, directory: Path, text: str, missing: str) -> None:
    """A missing file is called missing, not taken for another whose name ends alike."""
    (directory / "mapped.yaml").write_text(TYPES)
    policy = ImportPolicy(packs=False, mappings=((text, directory / "mapped.yaml"),))
    [problem] = problems(NODE, header=importing(missing), policy=policy)
    assert repr(missing) in problem


@pytest.mark.parametrize(
    "text",
    ["cloudify/types/types.yaml", "http://www.getcloudify.org/spec/cloudify/4.6/types.yaml", "types.yaml"],
)
@pytest.mark.parametrize("mapped", ["types.yaml", "ypes.yam", "/types.yaml"])
def test_a_mapping_of_a_file_name_answers_every_path_to_it(
    load: Any, directory: Path, text: str, mapped: str
) -> None:
    """The example of the help: ``--map types.yaml=FILE``; a part of a word fits nowhere."""
    (directory / "mapped.yaml").write_text(box("mapped"))
    policy = ImportPolicy(packs=False, mappings=((mapped, directory / "mapped.yaml"),))
    if mapped in {"types.yaml", "/types.yaml"}:
        assert kind_of(load, text, policy=policy) == "mapped"
    else:
        with pytest.raises(InvalidBlueprintError):
            kind_of(load, text, policy=policy)


@pytest.mark.parametrize(("version", "expected"), [("1_3", "plain"), ("1_4", "of 1_4"), ("1_5", "plain")])
@pytest.mark.parametrize("name", ["plugin.yaml", "plugin.yml", "parts/plugin.yaml"])
def test_the_file_of_the_dsl_version_is_read_where_there_is_one(
    load: Any, directory: Path, name: str, version: str, expected: str
) -> None:
    """Plugins ship plugin.yaml, plugin_1_4.yaml, plugin_1_5.yaml side by side; only the same counts."""
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(box("plain"))
    path.with_stem("plugin_1_4").write_text(box("of 1_4"))
    assert kind_of(load, name, version=version) == expected
    assert kind_of(load, str(path), version=version) == expected


def test_the_file_of_the_dsl_version_is_enough(load: Any, directory: Path) -> None:
    """The plain one need not be there."""
    (directory / "plugin_1_4.yaml").write_text(box("of 1_4"))
    assert kind_of(load, "plugin.yaml") == "of 1_4"


def test_a_url_of_a_file_means_that_file(load: Any, directory: Path) -> None:
    """Only paths are completed by the version."""
    (directory / "plugin.yaml").write_text(box("plain"))
    (directory / "plugin_1_4.yaml").write_text(box("of 1_4"))
    assert kind_of(load, f"file:{directory}/plugin.yaml") == "plain"


def test_the_file_of_a_version_may_import_the_plain_one(load: Any, directory: Path) -> None:
    """It adds to it; an import of itself would be none."""
    (directory / "plugin.yaml").write_text(box("plain"))
    (directory / "plugin_1_4.yaml").write_text("imports: [plugin.yaml]\n")
    assert kind_of(load, "plugin.yaml") == "plain"


def test_the_main_files_version_decides(load: Any, directory: Path) -> None:
    """Whatever an imported file says of its own."""
    (directory / "all.yaml").write_text(
        "tosca_definitions_version: cloudify_dsl_1_4\nimports: [plugin.yaml]\n"
    )
    (directory / "plugin.yaml").write_text(box("plain"))
    (directory / "plugin_1_4.yaml").write_text(box("of 1_4"))
    assert kind_of(load, "all.yaml", version="1_5") == "plain"


def test_both_names_of_one_file_are_one_import(load: Any, directory: Path) -> None:
    """A blueprint that names the version itself reads it once."""
    (directory / "plugin.yaml").write_text(box("plain"))
    (directory / "plugin_1_4.yaml").write_text(box("of 1_4"))
    assert kind_of(load, "plugin.yaml", "plugin_1_4.yaml") == "of 1_4"


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not at ../shared/cases")
def test_the_cases_from_public_blueprints_read_their_own_files() -> None:
    """The plugin of the DSL version; local types under a mapping of types.yaml."""
    box = load_blueprint(CASES / "5-import-of-the-dsl-version" / "bp.yaml").nodes[NodeId("box")]
    assert box.properties["kind"] == "fourteen"
    blueprint = load_blueprint(
        CASES / "8-map-text-swallows-local-imports" / "bp.yaml",
        imports=ImportPolicy(mappings=(("types.yaml", CORPUS_TYPES),)),
    )
    assert blueprint.nodes[NodeId("a")].type == "my.Node"


def test_an_unknown_plugin_says_how_to_map_it(problems: Any) -> None:
    """The message is the next command."""
    [problem] = problems(NODE, header=importing("cloudify/types/types.yaml", "plugin:cloudify-aws-plugin"))
    assert problem.startswith(
        "blueprint.yaml:4:5: quiesce ships no type pack for 'plugin:cloudify-aws-plugin'"
    )
    assert "--map cloudify-aws-plugin=FILE" in problem


def test_the_network_is_not_touched_unless_asked(problems: Any) -> None:
    """A blueprint alone fetches nothing."""
    [problem] = problems(NODE, header=importing("https://example.org/some/types_of_mine.yaml"))
    assert "is not read over the network unless you ask for it" in problem


def test_a_relative_import_stays_within_the_blueprint_or_its_checkout(
    load: Any, problems: Any, directory: Path
) -> None:
    """Dots lead to files of others, whose first lines errors would show."""
    (directory.parent / "outside.yaml").write_text(box("outside"))
    header = importing("cloudify/types/types.yaml", "../outside.yaml")
    [problem] = problems(NODE, header=header)
    assert "is outside the blueprint's directory" in problem
    (directory.parent / ".git").mkdir()
    assert load(NODE, header=header).nodes


def test_what_anybody_on_the_way_could_change_is_not_read(problems: Any) -> None:
    """Only https is, and no redirection away from it."""
    header = importing("http://127.0.0.1:9/some/types_of_mine.yaml")
    [problem] = problems(NODE, header=header, policy=ImportPolicy(network=True))
    assert "anybody on the way could change it" in problem
    following = urllib.request.Request("https://127.0.0.1:9/")
    answer = io.BytesIO()
    with pytest.raises(urllib.error.URLError, match="not https"):
        _HttpsOnly().redirect_request(following, answer, 302, "", {}, "http://127.0.0.1:9/")
    assert answer.closed


@pytest.mark.parametrize(
    "text",
    [
        "cloudify/types/types.yaml",
        "http://www.getcloudify.org/spec/cloudify/4.6/types.yaml",
        "https://cloudify.co/spec/cloudify/6.3.0/types.yaml",
        "plugin:quiesce",
        "plugin:cloudify-libvirt-plugin?version= >=0.8",
        "http://www.getcloudify.org/spec/openstack-plugin/2.9.6/plugin.yaml",
        "https://raw.githubusercontent.com/cloudify-incubator/cloudify-utilities-plugin/1.15.3/plugin.yaml",
        "https://github.com/cloudify-cosmo/cloudify-vsphere-plugin/releases/download/2.19/v2_plugin.yaml",
    ],
)
def test_what_blueprints_import_by_name_is_shipped(load: Any, text: str) -> None:
    """Nothing is fetched for the types and plugins that quiesce serves."""
    header = importing("cloudify/types/types.yaml", *([] if "cloudify/types" in text else [text]))
    assert "app" in load(NODE, header=header).nodes


def test_a_missing_file_names_its_neighbours(problems: Any, directory: Path) -> None:
    """A slip in a file name is seen at once."""
    (directory / "types-mine.yaml").write_text(TYPES)
    [problem] = problems(NODE, header=importing("types_mine.yaml"))
    assert "there is no file 'types_mine.yaml' to import; did you mean 'types-mine.yaml'?" in problem


def test_a_circle_of_imports_is_refused(problems: Any, directory: Path) -> None:
    """The circle is spelt out."""
    (directory / "a.yaml").write_text("imports: [b.yaml]\n")
    (directory / "b.yaml").write_text("imports: [a.yaml]\n")
    [problem] = problems(NODE, header=importing("a.yaml"))
    assert "circular import: blueprint.yaml -> a.yaml -> b.yaml -> a.yaml" in problem


def test_a_file_imported_by_two_others_is_merged_once(load: Any, directory: Path) -> None:
    """A diamond of imports is no conflict."""
    (directory / "a.yaml").write_text("imports: [base.yaml]\n")
    (directory / "b.yaml").write_text("imports: [base.yaml]\n")
    (directory / "base.yaml").write_text(TYPES)
    assert "app" in load(NODE, header=importing("a.yaml", "b.yaml")).nodes


def test_a_file_that_is_too_large_is_refused_unread(problems: Any, directory: Path) -> None:
    """A hundred megabytes are never parsed."""
    with (directory / "big.yaml").open("wb") as file:
        file.truncate(100 * 1024**2)
    [problem] = problems(NODE, header=importing("big.yaml"))
    assert problem.startswith("blueprint.yaml:3:5: ")
    assert "big.yaml: the file has more than" in problem
    assert MAX_BYTES < 100 * 1024**2


def test_what_is_no_regular_file_is_not_read(problems: Any, directory: Path) -> None:
    """A pipe would hang for ever."""
    os.mkfifo(directory / "pipe.yaml")
    [problem] = problems(NODE, header=importing("pipe.yaml"))
    assert "it is not a regular file" in problem


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a link to another user")
def test_a_link_of_somebody_else_is_not_followed(load: Any, problems: Any, directory: Path) -> None:
    """Root told what stands in a file that only root may read, for its user had put a link to it there."""
    (directory / "private.yaml").write_text("secret_word: {}")
    (directory / "link.yaml").symlink_to("private.yaml")
    os.lchown(directory / "link.yaml", 54321, 54321)
    [problem] = problems(NODE, header=importing("link.yaml"))
    assert "link.yaml is a link and was not followed: user 54321 made it" in problem
    assert "secret_word" not in problem
    (directory / "private.yaml").write_text(TYPES)
    os.lchown(directory / "link.yaml", 0, 0)
    assert "app" in load(NODE, header=importing("link.yaml")).nodes


def test_two_definitions_of_one_name_conflict(problems: Any, directory: Path) -> None:
    """Both places are told."""
    (directory / "a.yaml").write_text(TYPES + "  # one\n")
    (directory / "b.yaml").write_text("node_types: {mine: {derived_from: cloudify.nodes.Root}}\n")
    found = problems(
        NODE + "node_types: {mine: {derived_from: cloudify.nodes.Root}}\n",
        header=importing("a.yaml", "b.yaml"),
    )
    assert len(found) == 1
    assert found[0].startswith("b.yaml:1:14: 'mine' in 'node_types' was already defined at")


def test_a_newer_import_is_a_warning(load: Any, directory: Path) -> None:
    """The import is read all the same, as a manager does that checks no versions."""
    (directory / "a.yaml").write_text("tosca_definitions_version: cloudify_dsl_1_5\n" + TYPES)
    [warning] = load(NODE, header=importing("a.yaml")).warnings
    assert warning.what == "the imported file needs cloudify_dsl_1_5, the main file has cloudify_dsl_1_3"


def test_a_namespace_stands_before_every_name_of_its_import(load: Any, directory: Path) -> None:
    """Names that begin with cloudify. stay, references follow, scripts keep their file."""
    (directory / "run.sh").write_text("")
    (directory / "lib.yaml").write_text(
        """\
inputs: {size: {default: 3}}
node_types:
  kind:
    derived_from: cloudify.nodes.Root
    properties: {size: {default: {get_input: size}}}
    interfaces: {cloudify.interfaces.freeze: {suspend: run.sh}}
node_templates:
  db: {type: kind}
  app: {type: kind, relationships: [{type: cloudify.relationships.connected_to, target: db}]}
outputs: {size: {value: {get_property: [db, size]}}}
"""
    )
    blueprint = load(
        "node_templates: {mine: {type: net--kind}}\n",
        header=importing("cloudify/types/types.yaml", "net--lib.yaml"),
    )
    assert set(blueprint.nodes) == {"mine", "net--db", "net--app"}
    assert blueprint.nodes["net--app"].type_hierarchy == ("cloudify.nodes.Root", "net--kind")
    assert blueprint.nodes["net--app"].relationships[0].target == "net--db"
    assert blueprint.nodes["net--db"].properties["size"] == 3
    assert blueprint.outputs == {"net--size": 3}
    operation = blueprint.nodes["net--db"].operations["cloudify.interfaces.freeze.suspend"]
    assert operation.inputs == {"script_path": "net--run.sh"}


def test_the_basic_types_take_no_namespace(problems: Any) -> None:
    """Everything relies on their names."""
    [problem] = problems(NODE, header=importing("x--cloudify/types/types.yaml"))
    assert "the basic types cannot be put into the namespace 'x'" in problem


def test_relationships_can_be_added_to_an_imported_node(load: Any, directory: Path) -> None:
    """A node of nothing but relationships extends the node of that name."""
    (directory / "lib.yaml").write_text(
        "node_templates:\n  db: {type: cloudify.nodes.Root}\n"
        "  app: {type: cloudify.nodes.Root, relationships: []}\n"
    )
    blueprint = load(
        "node_templates: {app: {relationships: [{type: cloudify.relationships.connected_to, target: db}]}}\n",
        header=importing("cloudify/types/types.yaml", "lib.yaml"),
    )
    assert [each.target for each in blueprint.nodes["app"].relationships] == ["db"]


@pytest.mark.parametrize("name", ["x" * 5000, ".", "/", "file://[", "a\0b.yaml"])
def test_an_import_that_can_be_no_file_is_a_problem_with_a_position(tmp_path: Path, name: str) -> None:
    path = tmp_path / "main.yaml"
    path.write_text(f"tosca_definitions_version: cloudify_dsl_1_3\nimports: [{json.dumps(name)}]\n")
    with pytest.raises(InvalidBlueprintError, match=r"main\.yaml:2"):
        load_blueprint(path)
