"""Every recipe in experiments/ runs: two steps, an evaluation and a report, on the tiny corpus.

A recipe that needs what no fresh clone has says so in its head, `# needs: WHAT`; it is composed and checked only.
"""

from __future__ import annotations

import re

import pytest

from slt.config import HOME, check

RECIPES = sorted(path.stem for path in (HOME / "experiments").glob("*.yaml"))
TWO_STEPS = (
    "max_steps=2", "eval_every=2", "log_every=1", "batch_size=4", "batch_frames=null", "num_workers=0", "device=cpu",
    "precision=fp32", "evaluation={num_beams:2,nbest:2,bootstrap:10,report_strips:1}",
)  # fmt: skip


def needs(recipe: str) -> str | None:
    """What the head of a recipe says it needs."""
    text = (HOME / "experiments" / f"{recipe}.yaml").read_text(encoding="utf-8")
    found = re.search(r"^# needs: (.+)$", text, re.MULTILINE)
    return found[1] if found else None


def job(recipe: str) -> str:
    """The entry point that a recipe's head says to run."""
    text = (HOME / "experiments" / f"{recipe}.yaml").read_text(encoding="utf-8")
    found = re.search(r"^# Run: python -m slt\.(\w+) ", text, re.MULTILINE)
    assert found, f"{recipe}.yaml does not say how it is run"
    return found[1]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_composes_and_says_what_it_asks(compose, recipe):
    text = (HOME / "experiments" / f"{recipe}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# @package _global_\n# ")
    needed = ["dataset.root=anywhere"] if needs(recipe) else []
    check(compose(f"experiments={recipe}", *needed, name=job(recipe)))


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if not needs(recipe) and job(recipe) == "train"])
def test_every_recipe_that_needs_nothing_runs_two_steps(entry, corpus, recipe):
    ran = entry("train", f"experiments={recipe}", f"dataset.root={corpus}", *TWO_STEPS)
    assert ran.status == 0, ran.err
    assert (ran.folder / "report.html").is_file()


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if job(recipe) == "pretrain"])
def test_every_recipe_of_pretraining_runs_two_steps(entry, corpus, recipe):
    ran = entry(
        "pretrain", f"experiments={recipe}", f"dataset.root={corpus}", f"probe.dataset.root={corpus}", "device=cpu",
        "probe.examples=40", "probe.questions=20", "max_steps=2", "eval_every=2", "batch_size=8", "num_workers=0",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert list(ran.folder.glob("backbone_*.safetensors"))


def test_a_misspelt_recipe_is_not_passed_over(entry, tiny):
    ran = entry("train", *tiny, "experiments=no_such_recipe")
    assert (ran.status, ran.folder) == (1, None)
    assert ran.err.startswith("error: experiments=no_such_recipe: there is no such option")
