"""The fences of the house that a machine can check: who may import what, words, shapes, and no path of one machine."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = sorted((ROOT / "slt").rglob("*.py"))
SOURCES = sorted(path for folder in ("slt", "tests") for path in (ROOT / folder).rglob("*.py"))
ENTRIES = {
    f"slt/{name}.py"
    for name in (
        "train",
        "eval",
        "export",
        "pretrain",
        "extract",
        "check",
        "demo",
        "report",
        "board",
        "score",
        "adapt",
        "rate",
        "segment",
        "align",
        "start",
        "__main__",
    )
}
CONFIGURED = (*sorted(ENTRIES), "slt/commands/", "slt/config/")
# From the top to the bottom: a room imports what stands below it. exporting stands above inference, because its proof
# of parity runs the exported folder by the very class that its users do.
ROOMS = (
    "commands", "config", "sweeps", "exporting", "inference", "evaluation", "pretraining", "training", "models",
    "synthetic", "extraction", "corpora", "drawing", "streams",
)  # fmt: skip
DOCUMENTS = [*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/README.md")]
GROUND = ("files", "text", "settings", "words", "workers")
# The one file that must spell out what it forbids.
THIS = "tests/test_house.py"


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache  # seven tests ask, and reading all files takes a second
def imports(path: Path) -> list[tuple[str, str | None]]:
    """Module and name of everything a file imports, wherever in the file it does."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found += ((node.module or "", alias.name) for alias in node.names)
    return found


def importers(*libraries: str) -> set[str]:
    """Files of the package that import any of the libraries."""
    return {name_of(path) for path in PACKAGE if {module.split(".")[0] for module, _ in imports(path)} & {*libraries}}


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Methods and functions of a file as (Class, node)."""
    for node in ast.walk(tree(path)):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                yield getattr(node, "name", ""), child


def tracked() -> list[Path]:
    """The files that are, or would be, in git; a checkout without git has none to look at."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def room_of(module: str) -> str:
    """The room that a module stands in; a file beside them is an entry point, or what everything stands on."""
    first = module.removeprefix("slt.").partition(".")[0]
    return first if first in ROOMS else "ground" if first in GROUND else "entry points"


def arrows() -> Iterator[tuple[str, str]]:
    """Every import of one of our modules by another, as (from, to)."""
    ours = {module_of(path) for path in PACKAGE}
    for path in PACKAGE:
        for module, name in imports(path):
            taken = f"{module}.{name}" if f"{module}.{name}" in ours else module
            if taken in ours and taken != module_of(path):
                yield module_of(path), taken


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_room_imports_only_what_stands_below_it():
    order = ["entry points", *ROOMS, "ground"]
    up = [
        f"{source} -> {target}"
        for source, target in arrows()
        if order.index(room_of(source)) > order.index(room_of(target))
    ]
    assert up == []
    assert {path.name for path in (ROOT / "slt").iterdir() if (path / "__init__.py").is_file()} == {*ROOMS}


def test_no_file_imports_what_imports_it():
    graph: dict[str, set[str]] = {}
    for source, target in arrows():
        graph.setdefault(source, set()).add(target)
    TopologicalSorter(graph).prepare()  # raises CycleError, naming the circle


def test_only_the_configuration_and_the_entry_points_import_hydra():
    # grid.py is what Hydra calls when a sweep begins.
    rest = importers("hydra", "omegaconf") - {"slt/sweeps/grid.py"}
    assert [name for name in rest if not name.startswith(CONFIGURED)] == []


def test_only_what_runs_its_tasks_and_makes_its_models_imports_mediapipe():
    assert importers("mediapipe") == {"slt/extraction/mediapipe_tasks.py", "slt/extraction/mediapipe_models.py"}


def test_only_the_page_knows_gradio():
    assert importers("gradio") == {"slt/inference/page/server.py"}


def test_only_the_decoder_imports_transformers_models():
    assert importers("transformers") == {
        f"slt/models/{name}.py" for name in ("caches", "causal", "decoder", "four_bit", "hugging_face", "tokenizer")
    }
    taken = {name for module, name in imports(ROOT / "slt" / "text.py") if module.split(".")[0] == "transformers"}
    assert all(name and "Token" in name for name in taken)


def test_things_are_built_from_the_configuration_in_entry_points_only():
    callers = {name_of(path) for path in PACKAGE if "instantiate" in {name for _, name in imports(path)}}
    assert [name for name in callers if not name.startswith(CONFIGURED)] == []


def test_the_library_is_never_handed_a_configuration():
    for path in PACKAGE:
        if not name_of(path).startswith(CONFIGURED):
            for _, node in functions(path):
                arguments = {a.arg for a in [*node.args.args, *node.args.kwonlyargs]}
                assert "cfg" not in arguments, f"{name_of(path)}: {node.name}"


def test_every_file_opens_with_what_it_is():
    without = [name_of(path) for path in SOURCES if path.stat().st_size and not ast.get_docstring(tree(path))]
    assert without == []


def test_every_forward_says_its_shapes():
    shape = re.compile(r"\([A-Z](?:', |, | )")
    found = 0
    for path in (ROOT / "slt" / "models").rglob("*.py"):
        for owner, node in functions(path):
            if node.name == "forward":
                found += 1
                assert shape.search(ast.get_docstring(node) or ""), f"{name_of(path)}: {owner}.forward"
    assert found >= 10


def test_files_are_named_by_their_place_and_never_by_a_drawer_or_a_version():
    names = [part for path in SOURCES for part in path.relative_to(ROOT).with_suffix("").parts]
    assert {"utils", "util", "common", "core", "helpers", "helper", "misc"} & {*names} == set()
    assert [name for name in names if re.search(r"_?v\d+$", name)] == []


def test_no_name_has_a_version_and_no_class_is_a_base_or_a_manager():
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                where = f"{name_of(path)}: {node.name}"
                assert not re.search(r"_v\d+$|V\d+$", node.name), where
                if isinstance(node, ast.ClassDef):
                    assert not re.search(r"^_?(Base|Abstract)[A-Z]|(Base|Manager|Wrapper)$", node.name), where


def test_what_an_experiment_would_vary_has_no_default_in_a_constructor_of_the_model():
    for path in (ROOT / "slt" / "models").rglob("*.py"):
        for owner, node in functions(path):
            if node.name == "__init__":
                given = [default for default in [*node.args.defaults, *node.args.kw_defaults] if default is not None]
                assert given == [], f"{name_of(path)}: {owner}"


def test_files_functions_and_lists_of_arguments_are_short():
    long = []
    for path in PACKAGE:
        if len(path.read_text(encoding="utf-8").splitlines()) > 350:
            long.append(name_of(path))
        for owner, node in functions(path):
            given = [a for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs] if a.arg != "self"]
            # The arguments of a dataset and of a decoder are its keys in conf/.
            keys = node.name == "__init__" and owner in {"Clips", "Mixture", "TextSeq2SeqDecoder"}
            many = len(given) > 8 and not keys
            if many or (node.end_lineno or 0) - node.lineno + 1 > 50:
                long.append(f"{name_of(path)}: {owner}.{node.name}")
    assert long == []


def test_masks_say_what_is_there():
    wrong = re.compile(r"\b(padding_mask|missing_mask|pad_mask|unseen|not_seen)\b\s*(=|:)")
    for path in PACKAGE:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not wrong.search(line), f"{name_of(path)}:{number}: a mask that is True where nothing is"


def test_no_tracked_file_knows_the_paths_of_one_machine():
    here = re.compile(r"/work/|/root/|/tmp/team|/home/\w+|/Users/\w+")
    found = [name_of(path) for path in tracked() if name_of(path) != THIS and here.search(text_of(path))]
    assert found == []


def test_no_tracked_file_is_a_checkpoint_a_film_or_large():
    big = [name_of(path) for path in tracked() if path.stat().st_size > 2_000_000]
    assert big == []
    assert [name_of(path) for path in tracked() if path.suffix in {".pt", ".pth", ".mp4", ".task", ".pyc"}] == []


def test_the_documents_name_files_that_are_there():
    for page in DOCUMENTS:
        files = re.findall(r"`((?:slt|tests|conf)/[\w/]+\.(?:py|yaml))`", page.read_text(encoding="utf-8"))
        assert [name for name in files if not (ROOT / name).is_file()] == [], page.name


def test_the_keys_that_the_documents_override_are_keys():
    from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf

    from slt.config.checks import CONF
    from slt.config.messages import known_keys

    known = {key for command in ("train", "eval", "extract") for key in known_keys(command)}
    known |= {f"hydra.launcher.{key}" for key in SlurmQueueConf.__dataclass_fields__}
    ends = {key for path in CONF.rglob("*.yaml") for key in re.findall(r"(\w+):", path.read_text(encoding="utf-8"))}
    for page in DOCUMENTS:
        name, text = page.name, page.read_text(encoding="utf-8")
        for command in re.findall(r"python -m slt\S*((?: +[^\s`|]+)+)", text):
            for key in re.findall(r"(?<=\s)([a-z_]+(?:\.[a-z_]+)*)=", command):
                assert key in known or key.rsplit(".", 1)[-1] in ends, f"{name}: {key}="


def test_every_requirement_has_both_bounds_and_stands_in_the_lock_within_them():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    lock = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            pinned = Requirement(line)  # a line of an index, a folder or a file is none
            (exact,) = pinned.specifier
            assert exact.operator == "==", line
            lock.setdefault(canonicalize_name(pinned.name), []).append(exact.version)
    for requirement in map(Requirement, wanted):
        if requirement.name != project["name"]:
            tools = requirement.name.startswith("types-") or requirement.name == "setuptools"
            assert tools or {bound.operator for bound in requirement.specifier} == {">=", "<"}, str(requirement)
            versions = lock[canonicalize_name(requirement.name)]
            assert all(version in requirement.specifier for version in versions), str(requirement)


def test_opencv_comes_from_one_package():
    assert len({*packages_distributions()["cv2"]}) == 1  # with two, which one is imported is chance


def test_a_page_is_short_and_its_links_lead_somewhere():
    for page in DOCUMENTS:
        text = page.read_text(encoding="utf-8")
        assert page.parent.name == "experiments" or len(text.splitlines()) <= 300, page.name
        links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
        assert [link for link in links if not (page.parent / link).exists()] == [], page.name


def test_both_languages_show_the_same_commands():
    for page in ROOT.glob("docs/*.es.md"):
        ours, theirs = (
            [line.split(" #")[0].rstrip() for line in commands(path)]
            for path in (page, page.with_name(page.name.replace(".es.", ".")))
        )
        assert ours == theirs, page.name


def commands(page: Path) -> Iterator[str]:
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        yield from (line for line in block.splitlines() if line and not line.startswith("#"))


def test_files_of_tests_have_names_of_their_own():
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert names == sorted({*names})  # pytest takes two of one name for one module
