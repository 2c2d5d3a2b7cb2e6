"""`--help` of every command, `--cfg job`, and completion at the tab key: what they show is what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from slt.__main__ import COMMANDS
from slt.config.checks import CONF, HOME
from slt.config.messages import known_keys
from slt.config.usage import keys_of, usage

JOBS = [command for command in COMMANDS if (CONF / f"{command}.yaml").is_file()]
NEEDED = {"eval": ["checkpoint=x"], "export": ["checkpoint=x", "out=x"], "demo": ["model=x"],
          "score": ["hypotheses=x", "references=x"], "start": ["source=x"]}  # fmt: skip


@pytest.mark.parametrize("command", JOBS)
def test_help_shows_keys_that_there_are_each_with_its_line(entry: Any, command: str) -> None:
    ran = entry(command, "--help")
    assert (ran.status, ran.err, ran.folder) == (0, "", None)
    assert ran.out.startswith(f"python -m slt.{command}: ")
    keys = re.findall(r"^  (\w[\w.]*) {2,}\S.*?  \S", ran.out[ran.out.index("Keys, ") :], re.MULTILINE)
    assert len(keys) >= (1 if command == "board" else 8)  # the board's are those of its group
    assert {*keys} - {*known_keys(command)} == set()


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_help_shows_every_group_of_the_command_with_its_options(entry: Any, command: str) -> None:
    out = entry(command, "--help").out
    assert re.search(r"^  fusion .*\bconcat\*", out, re.MULTILINE) or command == "pretrain"
    assert re.search(r"^  objective .*\bdinov2\*", out, re.MULTILINE) or command == "train"
    groups = re.findall(r"^  - (\w+): \S+$", (CONF / f"{command}.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    for group in {*groups} - {"experiments"}:
        (line,) = re.findall(rf"^  {group} +(.*)$", out[: out.index("Keys, ")], re.MULTILINE)
        assert {path.stem for path in (CONF / group).glob("*.yaml")} == set(line.replace("*", "").split(", "))
    assert re.search(r"^  experiments +.*\bseeds\b", out, re.MULTILINE)


def test_keys_are_read_with_their_place_value_and_comment() -> None:
    text = "defaults:\n  - a\na: 1   # one\nb:  # two\n  c: {d: 2}\n  _target_: x  # no\nhydra:\n  e: 3  # no\n"
    assert keys_of(text) == [("a", "1", "one"), ("b", "", "two"), ("b.c", "{d: 2}", "")]


def test_recipes_of_the_working_folder_are_shown_too(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.yaml").touch()
    assert re.search(r"experiments +.*\bmine\b.*\bseeds\b", usage("train", CONF, [HOME, tmp_path]))


@pytest.mark.parametrize("command", JOBS)
def test_the_whole_configuration_is_printed_and_nothing_runs(entry: Any, compose: Any, command: str) -> None:
    ran = entry(command, "--cfg", "job", *NEEDED.get(command, []))
    assert (ran.status, ran.err, ran.folder) == (0, "", None)
    assert OmegaConf.create(ran.out) == OmegaConf.create(
        OmegaConf.to_yaml(compose(*NEEDED.get(command, []), name=command))
    )


HEAVY = ("torch", "transformers", "timm", "mediapipe", "onnxruntime", "pandas", "matplotlib.pyplot", "wandb")


@pytest.mark.parametrize(
    ("shown", "commands", "heavy"),
    [
        (["--help"], {*COMMANDS} - {"demo", "extract", "report", "start"}, ("hydra", "omegaconf")),
        (["--help"], COMMANDS, HEAVY),
        (["--cfg", "job"], COMMANDS, HEAVY),
    ],
)
def test_what_is_shown_needs_no_library_of_models_films_or_charts_and_help_no_hydra(
    tmp_path: Path, shown: list[str], commands: Iterable[str], heavy: tuple[str, ...]
) -> None:
    code = (
        "import atexit, importlib, sys\n"
        f"atexit.register(lambda: print('brought:', *{{*{heavy}}} & {{*sys.modules}}))\n"
        f"for name in {commands}: importlib.import_module(f'slt.{{name}}')\nsys.modules['slt.train'].train()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *shown], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.stdout.endswith("\nbrought:\n"), done.stderr


def test_a_reader_who_has_enough_of_the_help_gets_no_error(tmp_path: Path) -> None:
    code = "from slt.config.entry import main; main('train')(print)()"
    done = subprocess.Popen(
        [sys.executable, "-c", code, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    )
    assert done.stdout is not None
    done.stdout.close()
    assert done.communicate(timeout=120)[1] == b""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("{python} -m slt.train max_steps=7 fusion=c", "fusion=concat fusion=cross_attention"),
        ("{python} -m slt pretrain objective=i", "objective=ibot"),
        ("slt eval evaluation.nb", "evaluation.nbest="),
        ("{python} other.py fusion=", ""),
    ],
)
def test_tab_completes_groups_options_and_keys(typed: str, offered: str, tmp_path: Path) -> None:
    line = typed.format(python=sys.executable)
    script = 'source "$1"; COMP_LINE=$2 COMP_POINT=${#2}; _slt_complete; echo "${COMPREPLY[@]}"'
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(HOME / "docs" / "completion.bash"), line], capture_output=True, text=True,
        timeout=120, check=False, cwd=tmp_path, env={"PATH": path, "PYTHONPATH": str(HOME), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == (offered, "")
