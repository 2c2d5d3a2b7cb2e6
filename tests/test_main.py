"""`python -m slt`: which command it hands over to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import slt.__main__
from slt.config.checks import CONF


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Run `python -m slt ARGUMENTS` with commands that do nothing: the sys.argv that the chosen one saw."""

    def run(*arguments: str) -> list[str]:
        seen: list[str] = []

        def load(name: str) -> SimpleNamespace:
            command = name.removeprefix("slt.")
            function = {"eval": "evaluate"}.get(command, command)
            return SimpleNamespace(**{function: lambda: seen.extend(sys.argv)})

        monkeypatch.setattr(sys, "argv", ["slt", *arguments])
        monkeypatch.setattr(slt.__main__.importlib, "import_module", load)
        slt.__main__.main()
        return seen

    return run


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        ([], ["slt.train"]),
        (["train", "seed=2"], ["slt.train", "seed=2"]),
        (["eval", "checkpoint=x"], ["slt.eval", "checkpoint=x"]),
        (["extract"], ["slt.extract"]),
        (["seed=2", "fusion=concat"], ["slt.train", "seed=2", "fusion=concat"]),
        (["+experiments=x"], ["slt.train", "+experiments=x"]),
        (["-m", "seed=1,2"], ["slt.train", "-m", "seed=1,2"]),
        (["train", "--cfg", "job"], ["slt.train", "--cfg", "job"]),
        (["--help"], ["slt.train", "--help"]),
    ],
)
def test_hands_over_to_the_command_and_to_train_where_none_is_named(
    called: Callable[..., list[str]], arguments: list[str], seen: list[str]
) -> None:
    assert called(*arguments) == seen


@pytest.mark.parametrize(("typed", "near"), [("trian", "train"), ("evla", "eval"), ("extrat", "extract")])
def test_unknown_command_names_the_near_one(called: Callable[..., list[str]], typed: str, near: str) -> None:
    with pytest.raises(SystemExit) as left:
        called(typed, "seed=2")
    assert f"error: there is no command '{typed}'; did you mean {near}? (there are: train, eval" in str(left.value.code)


def test_unknown_command_like_no_other_lists_what_there_is(called: Callable[..., list[str]]) -> None:
    with pytest.raises(SystemExit, match=r"there is no command 'xyzzy' \(there are: train, eval"):
        called("xyzzy")


def test_every_command_with_a_configuration_is_there(called: Callable[..., list[str]]) -> None:
    names = {path.stem for path in CONF.glob("*.yaml")} & set(slt.__main__.COMMANDS)
    assert {"train", "eval", "extract"} <= names
    assert {name: called(name) for name in names} == {name: [f"slt.{name}"] for name in names}


def test_module_runs_from_any_folder_and_finds_its_configuration(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "slt", "train", "--cfg", "job", "max_steps=7"], cwd=tmp_path, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "max_steps: 7" in done.stdout
    assert list(tmp_path.iterdir()) == []
