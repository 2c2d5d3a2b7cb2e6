"""Every recipe in experiments/ runs: two steps, an evaluation and a report, on the tiny corpus.

A recipe that needs what no fresh clone has says so in its head, `# needs: WHAT`; it runs where a stand-in for that is
named here, and else is composed and checked only. Of every grid each job is composed.
"""

from __future__ import annotations

import re

import pytest
import yaml
from omegaconf import DictConfig

from slt.config.checks import HOME, check, locate
from slt.sweeps.grid import jobs_of

RECIPES = sorted(path.stem for path in (HOME / "experiments").glob("*.yaml"))
TWO_STEPS = (
    "max_steps=2", "eval_every=2", "log_every=1", "batch_size=4", "batch_frames=null", "num_workers=0", "device=cpu",
    "precision=fp32", "decoder.max_tokens=100", "flat_start=1", "evaluation.shuffled=false", "evaluation.frozen=false",
    "evaluation={num_beams:1,nbest:1,bootstrap:10,report_strips:1,blanked:false}",
)  # fmt: skip
# Published weights are not downloaded: the same parts, drawn at random and small where they may be.
SMALL = (*(f"dataset.streams.{name}.size=28" for name in ("face", "left_hand", "right_hand")),
         "batch_size=2", "accumulate=1")  # fmt: skip
DINOV2 = (*SMALL, "streams.face.weights=null", "streams.left_hand.weights=null")
CONV = ("backbone=conv_small", "streams.face.widths=[8,8]", "streams.left_hand.widths=[8,8]")
# Two small layers, and MediaPipe's points of the tiny corpus.
MSKA = ("dataset.streams.pose.points=body_hands", "streams.pose.layers=[[8,8,4,3,2],[8,8,4,3,2]]", "embed_dim=16",
        "temporal.hidden=16", "objective.head.hidden=16")  # fmt: skip
STAND_INS = {
    "unisign_pose": ("dataset.streams.pose.points=mediapipe_75", "streams.pose.widths=[8,8]", "streams.pose.depth=1",
                     "streams.pose.projected=16", "embed_dim=16"),
    "mska": MSKA,
    "lsat_scratch": (), "lsat_dinov2_mt5": DINOV2, "lsat_signmusketeers": (*CONV, *SMALL),
    "lsat_llm": (*CONV, *SMALL, "embed_dim=16", "temporal.depth=1"),
    "keypoints_t5": ("dataset.streams.pose.points=upper_body", "embed_dim=16"),  # of the corpus and of the T5 there are
    "pretrained": ("dataset.limit=8",),  # two of the tiny corpus's signers have no more
}  # fmt: skip


@pytest.fixture(scope="module")
def ran_already() -> list[DictConfig]:
    """The jobs that this file's tests have run."""
    return []


def text_of(recipe: str) -> str:
    return (HOME / "experiments" / f"{recipe}.yaml").read_text(encoding="utf-8")


def needs(recipe: str) -> str | None:
    """What the head of a recipe says it needs."""
    found = re.search(r"^# needs: (.+)$", text_of(recipe), re.MULTILINE)
    return found[1] if found else None


def job(recipe: str) -> str:
    """The entry point that a recipe's head says to run."""
    found = re.search(rf"python -m slt\.(\w+) (?:-m )?experiments={recipe}\b", text_of(recipe))
    assert found, f"{recipe}.yaml does not say how it is run"
    return found[1]


def jobs(recipe: str) -> list[list[str]]:
    """The overrides of each job of a recipe's grid, with one seed; one job without any where it has no grid."""
    params = yaml.safe_load(text_of(recipe)).get("hydra", {}).get("sweeper", {}).get("params", {})
    return jobs_of({key: values for key, values in params.items() if key != "seed"})


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_job_of_every_recipe_composes_and_says_what_it_asks(compose, recipe):
    assert text_of(recipe).startswith("# @package _global_\n# ")
    where = ["dataset.root=anywhere"] if needs(recipe) else []
    for overrides in jobs(recipe):
        check(compose(f"experiments={recipe}", *where, *overrides, name=job(recipe)))


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if "sweeper:" in text_of(recipe)])
def test_a_study_s_baseline_is_one_of_its_jobs_at_three_seeds(recipe):
    content = yaml.safe_load(text_of(recipe))
    study = content["study"]
    assert content["hydra"]["sweeper"]["params"]["seed"] == "1,2,3"
    assert study["question"].endswith("?")
    assert study["metrics"][0] in ("test/bleu", "test/gloss_wer")  # the latter where glosses are the sentence
    baseline = (study["baseline"] or "").split()
    assert all(word.endswith("=default") for word in baseline) or baseline in jobs(recipe)


@pytest.mark.parametrize(
    "recipe", [name for name in RECIPES if job(name) == "train" and (not needs(name) or name in STAND_INS)]
)
def test_every_recipe_that_can_runs_two_steps(compose, entry, corpus, published, ran_already, recipe):
    overrides = [f"experiments={recipe}", f"dataset.root={corpus}", *TWO_STEPS, *STAND_INS.get(recipe, ())]
    if family := re.search(r"/decoder: (m?t5|llm)$", text_of(recipe), re.MULTILINE):
        overrides.append(f"decoder.pretrained={published(family[1])}")
    job = compose(*overrides)
    job.study = None
    if job not in ran_already:  # several studies begin with the same job
        ran_already.append(job)
        ran = entry("train", *overrides)
        assert ran.status == 0, ran.err
        assert (ran.folder / "report.html").is_file() == locate(job.objective._target_).translates


@pytest.mark.parametrize("decoder", ["t5_small", "bart_small"])
def test_the_decoders_that_are_compared_train_and_write(entry, corpus, decoder):
    ran = entry("train", "experiments=decoders", f"decoder={decoder}", f"dataset.root={corpus}", *TWO_STEPS)
    assert ran.status == 0, ran.err


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if job(recipe) == "pretrain"])
def test_every_recipe_of_pretraining_runs_two_steps(entry, corpus, recipe):
    ran = entry(
        "pretrain", f"experiments={recipe}", f"dataset.root={corpus}", f"probe.dataset.root={corpus}", "device=cpu",
        "probe.examples=40", "probe.questions=20", "max_steps=2", "eval_every=2", "batch_size=8", "num_workers=0",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert list(ran.folder.glob("backbone_*.safetensors"))


def test_a_recipe_s_grid_is_run_by_its_name_alone(entry, tiny):
    ran = entry("train", "-m", "experiments=fusion", *tiny, "max_steps=1", "eval_every=1", "final=null", "seed=1")
    assert ran.status == 0, ran.err
    kinds = {
        path.read_text().split("slt.models.Fuse")[1].split()[0] for path in ran.folder.parent.glob("*/config.yaml")
    }
    assert kinds == {"ConcatLinear", "Gated", "Mean"}


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if "shared:" in text_of(recipe)])
def test_runs_that_count_in_two_studies_are_the_same_job(compose, recipe):
    for label, source in yaml.safe_load(text_of(recipe))["study"]["shared"].items():
        other, _, words = source.partition(": ")
        ours, theirs = compose(f"experiments={recipe}", *label.split()), compose(f"experiments={other}", *words.split())
        ours.study = theirs.study = None
        ours.evaluation.blanked = theirs.evaluation.blanked  # one score more or less of the same sentences
        assert ours == theirs


def test_a_misspelt_recipe_is_not_passed_over(entry, tiny):
    ran = entry("train", *tiny, "experiments=no_such_recipe")
    assert (ran.status, ran.folder) == (1, None)
    assert ran.err.startswith("error: experiments=no_such_recipe: there is no such option")
