"""Every option of every group under conf/ composes, is accepted by what it names, and builds something that works.

B clips, L tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from slt.config.build import (
    build_splits,
    build_tokenizer,
    build_translator,
    carried,
    config_text,
    restore,
    stream_shapes,
)
from slt.config.checks import CONF, HOME, check
from slt.models.tokenizer import Tokenize, decode

# Files of conf/sweep/ that begin with wandb_ are for `wandb sweep`; those of conf/skeleton/ a pose's reader takes; what
# several datasets share stands in conf/corpus/.
OPTIONS = sorted(
    str(path.relative_to(CONF).with_suffix(""))
    for path in CONF.glob("*/*.yaml")
    if not path.name.startswith("wandb_") and path.parent.name not in ("skeleton", "corpus")
)
OURS = ["lsa_t", "synthetic", "synthetic_hard"]  # in the layout; tests/corpora/ reads those of others

PUBLISHED = ["t5", "mt5", "byt5", "bart", "mbart", "t5_lora", "llm"]


def options(group: str) -> list[str]:
    return [option.split("/")[1] for option in OPTIONS if option.startswith(f"{group}/")]


def given(option: str, corpus: Path) -> list[str]:
    """What a user must say beside an option."""
    rooted = option.startswith("dataset/") and option.split("/")[1] not in ("synthetic", "synthetic_hard", "mixture")
    if option == "dataset/asl":
        return [f"dataset.parts.{name}.root={corpus}" for name in ("youtube_asl", "how2sign")]
    if option == "board/wandb":
        return ["board.mode=offline"]
    return [f"dataset.root={corpus}"] * rooted + ["dataset.corpus.tier=x"] * (option == "dataset/elan")


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_its_target_accepts_its_keys(compose, corpus, option):
    pretrains = "_target_: slt.pretraining." in (CONF / f"{option}.yaml").read_text(encoding="utf-8")
    name = "pretrain" if pretrains else {"extractor": "extract"}.get(option.split("/")[0], "train")
    beside = [f"source={corpus}", "out=new"] if name == "extract" else given(option, corpus)
    beside += ["landmarker.films=x"] * (option == "extractor/drawn")
    check(compose(option.replace("/", "="), *beside, name=name))


@pytest.mark.parametrize("name", ["train", "eval", "extract", "export", "pretrain", "demo", "board", "score", "check"])
def test_every_command_composes_with_only_what_a_user_must_say_missing(compose, name):
    from omegaconf import OmegaConf

    missing = {"eval": {"checkpoint"}, "export": {"out"}, "demo": {"model"}}
    missing |= {"score": {"hypotheses", "references"}}
    assert OmegaConf.missing_keys(compose(name=name)) == missing.get(name, set())


@pytest.mark.parametrize("option", OURS)
def test_every_dataset_reads_a_corpus_in_the_layout(compose, corpus, option):
    cfg = compose(f"dataset={option}", f"dataset.root={corpus}")
    splits = build_splits(cfg, ["train", "val", "test"], augment=True)
    assert {name: len(clips) for name, clips in splits.items()} == {"train": 12, "val": 4, "test": 4}
    assert splits["train"].augment is not None
    assert splits["val"].augment is None
    shapes = stream_shapes(splits["train"])
    assert [*shapes] == ["face", "left_hand", "right_hand", "pose"]


def test_the_embedded_corpus_is_made_from_its_keys(compose, tmp_path):
    few = "{train:2,val:1,test:1}"
    overrides = [f"clips={few}", f"signers={few}", f"cache={tmp_path}", "crop_size=16", "workers=0", "progress=false"]
    cfg = compose(*(f"dataset.root.{override}" for override in overrides))
    clips = build_splits(cfg, ["train"], augment=False)["train"]
    assert len(clips) == 2
    assert clips.root.parent == tmp_path


def test_training_is_of_the_signers_asked_for_and_held_out_splits_are_whole(compose, corpus):
    cfg = compose(f"dataset.root={corpus}", "dataset.signers=1", "dataset.limit=2", "dataset.only=[face]")
    splits = build_splits(cfg, ["train", "val", "test"], augment=False)
    assert {name: len(clips) for name, clips in splits.items()} == {"train": 2, "val": 4, "test": 4}
    assert len(set(splits["train"].columns["signer"])) == 1
    assert [*stream_shapes(splits["train"])] == ["face"]


@pytest.mark.parametrize("option", options("backbone"))
def test_every_backbone_is_built_for_the_stream_it_gets(compose, tiny, tokenizer, option):
    shapes = {
        "pose_mlp": [5, 3],
        "points": [5, 3],
        "stgcn": [25, 3],
        "dsta": [25, 3],
        "features": [12],
        "conv_small": [3, 40, 40],
    }
    shape = shapes.get(option, [3, 112, 112])
    kept = [override for override in tiny if not override.startswith("streams.")]
    weights = ["streams.face.weights=null"] if option == "dinov2" else []  # timm would download them
    cfg = compose(*kept, f"backbone@streams.face={option}", *weights)
    encoder = build_translator(cfg, tokenizer, {"face": shape}).encoder.eval()
    x = torch.zeros(1, 2, *shape, dtype=torch.uint8 if len(shape) == 3 else torch.float32)
    seen = torch.ones(1, 2, dtype=torch.bool)
    assert encoder({"face": x}, {"face": seen}, seen)[0].shape == (1, encoder.length(2), 16)


@pytest.mark.parametrize("group", ["fusion", "temporal"])
def test_every_fusion_and_temporal_encoder_is_part_of_a_translator(build, batch, group):
    for option in options(group):
        if option == "single":
            continue  # of one stream, see tests/models/test_keypoints_t5.py
        assert build(f"{group}={option}")(batch).isfinite().all()


@pytest.mark.parametrize("option", options("optimizer"))
def test_every_optimizer_takes_a_step_downhill(compose, option):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = instantiate(compose(f"optimizer={option}").optimizer, _convert_="all")([{"params": [weight]}])
    weight.square().sum().backward()
    optimizer.step()
    assert (weight < 1).all()


@pytest.mark.parametrize("option", options("schedule"))
def test_every_schedule_warms_up_and_never_exceeds_the_rate(compose, option):
    schedule = instantiate(compose(f"schedule={option}", "schedule.warmup_steps=10").schedule, _convert_="all")
    factors = [schedule(step, max_steps=100) for step in range(100)]
    assert 0 < factors[0] < factors[5] < factors[10] <= 1
    assert max(factors) <= 1
    assert min(factors[10:]) >= 0


@pytest.mark.parametrize("option", [option for option in options("decoder") if option not in PUBLISHED])
def test_every_decoder_from_scratch_trains_its_tokenizer_and_writes(compose, corpus, clips, batch, option):
    cfg = compose(f"decoder={option}", f"dataset.root={corpus}")
    tokenizer = build_tokenizer(cfg, {"train": clips})
    batch.tokens, batch.tokens_mask = Tokenize(tokenizer, cfg.decoder.max_tokens)(batch.texts)
    translator = build_translator(cfg, tokenizer, stream_shapes(clips)).eval()
    assert decode(tokenizer, batch.tokens) == batch.texts
    assert translator(batch).shape == (*batch.tokens.shape, len(tokenizer))


@pytest.mark.parametrize("option", PUBLISHED)
def test_every_published_decoder_loads_writes_and_comes_back_from_its_checkpoint(
    compose, corpus, clips, batch, published, tmp_path, option
):
    cfg = compose(f"decoder={option}", f"decoder.pretrained={published(option)}", f"dataset.root={corpus}")
    tokenizer = build_tokenizer(cfg, {"train": clips})
    batch.tokens, batch.tokens_mask = Tokenize(tokenizer, cfg.decoder.max_tokens)(batch.texts)
    translator = build_translator(cfg, tokenizer, stream_shapes(clips)).eval()
    payload = carried(cfg, translator, tokenizer, stream_shapes(clips), [], clips) | {"model": translator.state_dict()}
    for path in (tmp_path / option).iterdir():
        path.unlink()  # no hub and no folder is needed any more
    # Before, a checkpoint told of every T5 what transformers did: that its head is the embedding.
    older = payload | {"hf_config": json.dumps(json.loads(payload["hf_config"]) | {"tie_word_embeddings": True})}
    for told in (older, payload):
        _, again, theirs = restore(told, Path("last.pt"))
        assert torch.equal(again.eval()(batch), translator(batch))
    assert decode(theirs, batch.tokens) == batch.texts
    assert torch.equal(Tokenize(theirs, 512)(batch.texts)[0], batch.tokens)


def test_a_graph_of_a_skeleton_of_one_s_own_and_a_prompt_come_back_from_a_checkpoint(
    compose, tiny, clips, batch, tokenizer, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    own = Path("skeleton/hands.yaml")
    own.parent.mkdir()
    lines = "&lines {all: [[0, 1, 2]]}"  # of which two parts have the same
    own.write_text(
        "of: mediapipe_75\npoints: [LEFT_WRIST, LEFT_SHOULDER, RIGHT_SHOULDER, RIGHT_WRIST, left_hand, right_hand]\n"
        f"edges: {{left_hand: {lines}, right_hand: *lines}}\n",
        encoding="utf-8",
    )
    graph = ("backbone@streams.pose=stgcn", "streams.pose.widths=[4]", "streams.pose.depth=1",
             "dataset.streams.pose.points=hands", "decoder.prompt=la casa", "decoder.text_encoder=true",
             "++decoder.config.encoder_layers=1", "+decoder.config.encoder_ffn_dim=8",
             "+decoder.config.encoder_attention_heads=1")  # fmt: skip
    cfg, shapes = compose(*(each for each in tiny if "streams.pose" not in each), *graph), stream_shapes(clips)
    shapes["pose"] = [46, 3]
    translator = build_translator(cfg, tokenizer, shapes).eval()
    payload = carried(cfg, translator, tokenizer, shapes, [], clips) | {"model": translator.state_dict()}
    own.unlink()
    _, again, _ = restore(payload, Path("last.pt"))
    batch.streams["pose"] = torch.rand(*batch.streams["pose"].shape[:2], 46, 3)
    assert torch.equal(again.eval()(batch), translator(batch))


def test_a_multilingual_decoder_is_taught_the_language_it_is_told_to_write(compose, corpus, clips, published):
    cfg = compose("decoder=mbart", f"decoder.pretrained={published('mbart')}", f"dataset.root={corpus}")
    tokenizer = build_tokenizer(cfg, {"train": clips})
    targets = Tokenize(tokenizer, 128)(list(clips.texts))[0]
    assert set(targets[:, 0].tolist()) == {tokenizer.convert_tokens_to_ids("es_XX")}
    cfg.decoder.language = "es_MX"
    with pytest.raises(ValueError, match=r"decoder\.language=es_MX.*did you mean es_XX"):
        build_tokenizer(cfg, {"train": clips})


def test_the_checkpoint_carries_plain_values_only(compose, tiny, clips, tokenizer, build, tmp_path):
    payload: dict[str, Any] = carried(compose(*tiny), build(), tokenizer, stream_shapes(clips), [], clips)
    torch.save(payload, tmp_path / "x.pt")
    again = torch.load(tmp_path / "x.pt", weights_only=True)
    assert json.loads(again["hf_config"])["model_type"] == "bart"
    assert again["shapes"] == stream_shapes(clips)


def test_the_configuration_in_a_checkpoint_names_no_folder_of_the_machine_and_leads_back_to_them(compose, monkeypatch):
    monkeypatch.setenv("HOME", "/somebody/at/home")
    monkeypatch.delenv("SLT_CACHE", raising=False)
    folders = [Path("/somebody/at/home/.cache/slt"), HOME / "data", Path.cwd() / "weights.pt"]
    names = ("dataset.root.cache", "resume", "streams.face.weights")
    cfg = compose(*(f"{name}={folder}" for name, folder in zip(names, folders, strict=True)))
    text = config_text(cfg)
    assert [place for place in ("/somebody/at/home", str(HOME), str(Path.cwd())) if place in text] == []
    again = OmegaConf.create(text)
    assert [Path(OmegaConf.select(again, name)).absolute() for name in names] == folders
