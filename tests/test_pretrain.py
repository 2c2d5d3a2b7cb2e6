"""`slt.pretrain` through its real entry point: it resumes bit for bit, and leaves a backbone that training loads."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from slt.config.runs import backbone_items
from slt.training.boards.wandb import artifact_of
from slt.training.checkpoint import load_checkpoint
from slt.training.record import read_metrics

SMALL = (
    "backbone.embed_dim=16", "backbone.depth=2", "backbone.num_heads=2", "augment.size=32", "augment.part_size=16",
    "augment.parts=2", "objective.model.num_prototypes=8", "objective.model.head.hidden=16",
    "objective.model.head.bottleneck=8", "objective.loss.temperature_warmup=2", "objective.loss.freeze_prototypes=1",
    "probe.examples=40", "probe.questions=20", "probe.k=3", "precision=fp32", "device=cpu", "num_workers=0",
    "batch_size=8", "max_steps=4", "eval_every=2", "log_every=1", "schedule.warmup_steps=1",
)  # fmt: skip


@pytest.fixture
def small(corpus: Path) -> list[str]:
    """The embedded corpus of the tests, as what is trained on and as what is asked about."""
    return [f"dataset.root={corpus}", f"probe.dataset.root={corpus}", *SMALL]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def ran(entry: Any, small: list[str], kept: Path) -> Any:
    """The folder of one run of all these tests, which none of them changes."""
    if not kept.exists():
        found = entry("pretrain", *small, "stream=hands")
        assert found.status == 0, found.err
        assert found.named_folder
        found.folder.rename(kept)
    return SimpleNamespace(folder=kept)


def test_run_folder_holds_curves_neighbours_and_a_backbone_that_says_what_it_is(ran: Any) -> None:
    assert {"backbone_hands.safetensors", "backbone_hands.json", "curves.png", "neighbours.png", "metrics.csv"} <= {
        path.name for path in ran.folder.iterdir()
    }
    about = json.loads((ran.folder / "backbone_hands.json").read_text(encoding="utf-8"))
    assert (about["stream"], about["objective"], about["steps"], about["img_size"]) == ("hands", "dinov2", 4, 32)
    assert about["form"] == {"network": "VisionTransformer", "patch_size": 8, "embed_dim": 16, "depth": 2}
    assert len(about["data"]) == 64
    curves = read_metrics(ran.folder / "metrics.csv")
    assert {"train/loss_dino", "train/loss_ibot", "train/loss_koleo", "train/teacher_entropy", "train/momentum"} < set(
        curves
    )
    for name in ("knn", "linear"):
        assert {f"val/{name}", f"val/{name}_random", f"val/{name}_pixels"} < set(curves)
    assert {"val/rank", "val/feature_std", "val/most_frequent"} < set(curves)
    assert [step for step, _ in curves["val/knn"]] == [2, 4]


def test_a_timm_model_of_the_same_form_loads_the_weights(ran: Any) -> None:
    model = timm.models.VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=0)
    model.load_state_dict(load_file(ran.folder / "backbone_hands.safetensors"), strict=True)


def test_training_takes_the_backbone_by_one_key(ran: Any, entry: Any, tiny: list[str]) -> None:
    path = ran.folder / "backbone_hands.safetensors"
    vit = ("backbone@streams.left_hand=vit_light", "streams.left_hand.embed_dim=16", "streams.left_hand.depth=2",
           "streams.left_hand.num_heads=2", "streams.left_hand.frozen=true",
           f"streams.left_hand.weights={path}")  # fmt: skip
    kept = [override for override in tiny if not override.startswith("streams.left_hand")]
    trained = entry("train", *kept, *vit, "final=null", "max_steps=1", "eval_every=1")
    assert trained.status == 0, trained.err
    weights = load_file(path)
    model = load_checkpoint(trained.folder / "checkpoints" / "last.pt")["model"]
    frozen = {name: model[f"encoder.backbones.left_hand.network.{name}"] for name in weights}
    assert all(torch.equal(frozen[name], weights[name]) for name in weights)
    assert entry("eval", f"checkpoint={trained.folder}", "num_workers=0", "device=cpu").status == 0
    for changed, said in (
        (["streams.left_hand.patch_size=4"], "are of another architecture: patch_size 8 there, 4 here"),
        (["streams.left_hand.embed_dim=32"], "embed_dim 16 there, 32 here"),
    ):
        assert said in entry("train", *kept, *vit, *changed).err
    face = [word.replace("left_hand", "face") for word in vit]
    kept = [override for override in tiny if not override.startswith("streams.face")]
    assert "were pretrained on stream 'hands', came stream 'face'" in entry("train", *kept, *face).err


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(entry: Any, small: list[str]) -> None:
    common = [*small, "stream=face", "probe.enabled=false", "objective.loss.max_steps=4", "schedule=constant"]
    first = entry("pretrain", *common, "max_steps=2", "num_workers=1")  # which has read ahead when it ends
    rest = entry("pretrain", *common, f"resume={first.folder}")
    again = entry("pretrain", *common)
    assert (first.status, rest.status, again.status) == (0, 0, 0), first.err
    mine, theirs = (load_file(one.folder / "backbone_face.safetensors") for one in (rest, again))
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    curves = [read_metrics(one.folder / "metrics.csv")["train/loss"] for one in (rest, again)]
    assert curves[0] == curves[1]


def test_a_run_goes_on_by_its_own_configuration_and_says_whose_objective_it_had(entry: Any, small: list[str]) -> None:
    own = ("stream=face", "objective=simclr", "objective.model.num_prototypes=1")
    run = entry("pretrain", *small, *own, "probe.enabled=false", "max_steps=2")
    assert run.status == 0, run.err
    on = entry("pretrain", f"resume={run.folder}", "max_steps=3")
    assert on.status == 0, on.err
    assert json.loads((on.folder / "backbone_face.json").read_text())["objective"] == "simclr"
    assert OmegaConf.load(on.folder / "config.yaml").objective.loss.max_steps == 3  # follows, as it did
    refused = entry("pretrain", f"resume={run.folder}", "stream=hands")
    assert (refused.status, "stream=hands, and the run has face" in refused.err) == (1, True)


def test_adapters_leave_the_weights_they_stand_on_and_come_out_merged(entry: Any, small: list[str], ran: Any) -> None:
    pytest.importorskip("peft", reason='peft is absent: pip install "slt[pretrain]"')
    path = ran.folder / "backbone_hands.safetensors"
    adapted = entry(
        "pretrain", *small, f"backbone.weights={path}", "+adapters={rank: 2, alpha: 4}", "optimizer.lr=0.01"
    )
    assert adapted.status == 0, adapted.err
    before, after = (load_file(folder / "backbone_hands.safetensors") for folder in (ran.folder, adapted.folder))
    assert list(before) == list(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(
        any(part in name for part in ("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight")) for name in changed
    )
    assert "patch_embed.proj.weight" not in changed


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["stream=feet"], "stream=feet: expected one of face, left_hand, right_hand, hands"),
        (["augment.part_size=20"], "augment.part_size=20: no multiple of the backbone's patch of 8 pixels"),
        (["batch_size=100000"], "crops are fewer than a batch (batch_size=100000)"),
        (
            ["backbone=conv_small", "~backbone.embed_dim", "~backbone.depth", "~backbone.num_heads"],
            "has no patch tokens",
        ),
        (["objective.loss.dino_weight=-1"], "objective.loss.dino_weight=-1: expected a number of at least 0"),
        (["objective=dno"], "did you mean dino"),
        (["objective=moments"], "clips=null: the objective tells apart moments of a clip"),
        (["objective=moments", "clips=3"], "clips=3: batch_size="),
        (
            ["objective=moments", "clips=1", "drift=0.2"],
            "drift=0.2 is above objective.loss.contrast_moments=0.15",
        ),
        (
            ["objective=moments", "clips=1", "objective.loss.contrast_moments=-1"],
            "objective.loss.contrast_moments=-1",
        ),
        (["augment.blurr=1"], "augment.blurr"),
    ],
)
def test_what_a_user_gets_wrong_is_said_before_the_first_step(
    entry: Any, small: list[str], overrides: list[str], said: str
) -> None:
    if overrides[0] == "backbone=conv_small":
        small, overrides = [word for word in small if not word.startswith("backbone.")], overrides[:1]
    ran = entry("pretrain", *small, *overrides)
    assert ran.status == 1
    assert said in ran.err
    assert not list(Path.cwd().rglob("last.pt"))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(entry: Any, small: list[str]) -> None:
    ran = entry("pretrain", *small, "optimizer.lr=1e30", "grad_clip=null", "eval_every=1", "max_steps=20",
                "schedule.warmup_steps=0", "probe.enabled=false")  # fmt: skip
    assert ran.status == 1
    assert "and its term" in ran.err
    assert load_checkpoint(ran.folder / "checkpoints" / "last.pt")["step"] >= 1


def test_profile_of_a_drawn_seed_with_deterministic_operations(entry: Any, small: list[str]) -> None:
    words = [word for word in small if not word.startswith(("max_steps", "eval_every"))]
    ran = entry("pretrain", *words, "debug=profile", "seed=null", "deterministic=true", "probe.enabled=false")
    assert ran.status == 0, ran.err
    assert "aten::" in (ran.folder / "profile.txt").read_text(encoding="utf-8")
    config = OmegaConf.load(ran.folder / "config.yaml")
    assert config.seed == config.dataset.seed is not None
    assert torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("words", "terms"),
    [("dino", ["dino"]), ("ibot", ["dino", "ibot"]), ("simclr", ["contrast"]), ("moments clips=2", ["contrast"])],
)
def test_every_objective_runs(entry: Any, small: list[str], words: str, terms: list[str]) -> None:
    asked = f"objective={words}".split()
    ran = entry("pretrain", *small, *asked, "max_steps=1", "eval_every=1", "probe.enabled=false")
    assert ran.status == 0, ran.err
    names = set(read_metrics(ran.folder / "metrics.csv"))
    assert sorted(name[11:] for name in names if name.startswith("train/loss_")) == terms


@pytest.mark.usefixtures("offline")
def test_backbone_joins_its_pretraining_to_the_training_that_starts_from_it(
    entry: Any, small: list[str], records: Any
) -> None:
    ran = entry("pretrain", *small, "stream=hands", "max_steps=2", "wandb.mode=offline")
    assert ran.status == 0, ran.err
    told = {each.name.split("-")[0]: each for each in records(ran.folder)["artifact"]}
    assert {name: each.use_after_commit for name, each in told.items()} == {"dataset": True, "backbone": False}
    node = OmegaConf.create({"weights": str(ran.folder / "backbone_hands.safetensors")})
    (item,) = backbone_items(node, OmegaConf.create({"weights": "timm"}), OmegaConf.create({"weights": None}))
    assert artifact_of(item, upload=False).digest == told["backbone"].digest
