"""slt/config/moved.py: what was written before a name or a key changed means today what it meant then."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import OmegaConf

from slt.config.moved import rename_targets


def test_a_decoder_from_before_there_were_prompts_has_none_and_another_keeps_its_own():
    target = "slt.models.TextSeq2SeqDecoder"
    cfg = OmegaConf.create({"decoder": {"_target_": target}, "others": [{"_target_": target, "prompt": "la"}]})
    OmegaConf.set_struct(cfg, True)
    rename_targets(cfg)
    assert cfg == {"decoder": {"_target_": target, "prompt": None}, "others": [{"_target_": target, "prompt": "la"}]}


def test_a_name_of_before_becomes_today_s_at_any_depth():
    cfg = OmegaConf.create({"a": {"b": {"_target_": "slt.text.load_tokenizer"}}})
    rename_targets(cfg)
    assert cfg.a.b._target_ == "slt.models.tokenizer.load_tokenizer"


def test_poses_of_before_are_normalised_by_the_shoulders_and_others_as_they_say() -> None:
    old = {"_target_": "slt.data.streams.Landmarks", "folder": "pose", "points": "lips", "jitter": 0, "noise": 0}
    new = old | {"_target_": "slt.data.Landmarks", "normalise": "unit"}
    cfg = OmegaConf.create({"dataset": {"streams": {"old": old, "new": new}}})
    rename_targets(cfg)
    assert [instantiate(cfg.dataset.streams[name]).normalise for name in ("old", "new")] == ["shoulders", "unit"]


def test_a_run_of_when_wandb_was_the_only_board_is_told_to_it_as_then() -> None:
    cfg = OmegaConf.create({"wandb": {"mode": "offline", "project": "signs", "tags": ["a"], "entity": None}})
    rename_targets(cfg)
    assert cfg.board._target_ == "slt.training.boards.wandb.WandbBoard"
    assert (cfg.board.mode, cfg.board.project, cfg.board.tags, cfg.board.examples) == ("offline", "signs", ["a"], 6)
    silent = OmegaConf.create({"wandb": {"mode": "disabled", "project": "signs"}})
    rename_targets(silent)
    assert "board" not in silent
