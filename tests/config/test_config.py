"""What is wrong with a run is said in its first second: one message that names the key, what was expected, what to do.

Everything here goes through the real entry points, in this process.
"""

from __future__ import annotations

import re
import shlex

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException

from slt.config.checks import CONF
from slt.config.messages import explain

# override -> what the one message must say
SPELLING = {
    "max_step=3": r"there is no key 'max_step' .*did you mean max_steps\?",
    "+max_stepz=3": r"max_stepz.*did you mean max_steps",
    "+evaluation.num_beam=2": r"evaluation.num_beam: there is no such key; did you mean evaluation.num_beams\?",
    "evaluation.num_beam=2": r"'evaluation.num_beam'.*evaluation.num_beams",
    "fusion.dropuot=0.1": r"'fusion.dropuot'.*fusion.dropout",
    "dataset.augment.sped=[1,1]": r"'dataset.augment.sped'.*dataset.augment.speed",
    "datset=lsa_t": r"'datset'.*dataset",
    "experiment=x": r"'experiment'.*experiments",
    "fusion=concta": r"fusion=concta: there is no such option; did you mean concat\? \(there are: concat, ",
    "backbone@streams.face=convsmall": r"backbone=convsmall: there is no such option; did you mean conv_small\?",
    "backbone@streams.fce=timm": r"'backbone@streams.fce'.*backbone@streams.face",
    "optimizer=adamv": r"optimizer=adamv.*adam",
    "debug=fst": r"debug=fst.*did you mean fast",
    "experiments=nothing_like_it": r"experiments=nothing_like_it: there is no such option",
    "wandb.mode=onlin": r"wandb.mode=onlin: expected one of disabled, offline, online; did you mean online\?",
    "precision=fp61": r"precision=fp61: expected one of auto, fp32, tf32, bf16, fp16",
    "temporal._target_=slt.models.TransformerTempral": r"slt.models.TransformerTempral cannot be found",
    "temporal._target_=1.5": r"1.5 cannot be found",
    "temporal._target_=../x": r"../x cannot be found",
}
TYPES = {
    "max_steps=many": r"max_steps=many.*Integer",
    "deterministic=maybe": r"deterministic=maybe.*bool",
    "seed=x": r"seed=x.*Integer",
    "compile=maybe": r"compile=maybe.*bool",
    "label_smoothing=[1]": r"label_smoothing=\[1\].*Float",
    "wandb.tags=a": r"wandb.tags=a.*list",
    "max_steps=null": r"max_steps=null.*not Optional",
    "evaluation=3": r"evaluation=3.*Evaluation",
}
VALUES = {
    "profile.steps=-1": r"profile.steps=-1: expected a number of at least 0",
    "profile.warmup=0": r"profile.warmup=0: expected a number above 0",
    "max_steps=0": r"max_steps=0: expected a number above 0",
    "grad_clip=-1": r"grad_clip=-1.*above 0",
    "select=rouge": r"select=rouge: expected one of bleu, chrf",
    "objective=dino": r"objective: the one chosen is for slt.pretrain",
    "start=nowhere": r"checkpoint=nowhere: no such file or folder",
    "batch_frames=100": r"batch_size and batch_frames: give one of the two",
    "batch_size=null": r"batch_size and batch_frames: give one of the two",
    "evaluation.gloss_lm={order:3}": r"expected all of order, weight and bonus",
    "evaluation.nbest=9": r"evaluation.nbest=9 is above evaluation.num_beams=2",
    "device=gpu": r"device=gpu: expected auto, cpu, cuda",
    "temporal.num_heads=3": r"embed_dim=16 is not divisible by num_heads=3",
    "dataset.root=nowhere": r"dataset.root=nowhere: no such folder",
    "dataset=lsa_t": r"dataset.root is missing: give it, as in dataset.root=",
    "+fusion.drop=0.1": r"fusion.drop: slt.models.FuseConcatLinear takes no such key; did you mean dropout\?",
    "+optimizer.weigth_decay=0": r"optimizer.weigth_decay: torch.optim.AdamW takes no such key; .* weight_decay\?",
    "+schedule.flor=0": r"schedule.flor: .*cosine takes no such key; did you mean floor\?",
    "+projector.dropuot=0": r"projector.dropuot: .*dropout\?",
    "+dataset.streams.face.siz=9": r"dataset.streams.face.siz: slt.data.Crops takes no such key; did you mean size\?",
    "+dataset.scoring.tokenize=chr": r"dataset.scoring.tokenize=chr: expected one of 13a, intl, .*did you mean char\?",
    "+dataset.scoring.lowrcase=true": r"dataset.scoring.lowrcase: .*did you mean lowercase\?",
    "+decoder.tokenizer.vocab=9": r"decoder.tokenizer.vocab: slt.models.tokenizer.train_tokenizer takes no such key",
    "backbone.frozen=true": r"backbone\.\* is only the choice.*; write streams.<stream>.frozen=true",
    "streams.right_hand.widths=[8,8]": r"right_hand is tied to left_hand.*tied.right_hand=null",
    "tied={}": r"tied=\{\}.*write tied.<stream>=null",
    "tied.right_hand=left_hnd": r"tied.right_hand=left_hnd: 'left_hnd' has no backbone",
    "+dataset.streams.body=${dataset.streams.pose}": r"dataset.streams.body has no backbone.*@streams.body=NAME",
    "streams.pose=null": r"dataset.streams.pose has no backbone",
}


def the_message(ran) -> str:
    """The one message of a run that stopped: nothing else on the screen, exit status 1."""
    assert ran.status == 1
    assert ran.err.count("error: ") == 1
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err + ran.out
    return ran.err


@pytest.mark.parametrize("override", [*SPELLING, *TYPES, *VALUES])
def test_a_run_that_cannot_be_meant_stops_with_one_message(entry, tiny, override):
    kept = [one for one in tiny if "lsa_t" not in override or not one.startswith("dataset.root")]
    message = the_message(entry("train", *kept, override))
    assert re.search({**SPELLING, **TYPES, **VALUES}[override], message), message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_cuda_asked_for_and_absent_is_said_and_never_replaced_by_the_cpu(entry, tiny, device):
    message = the_message(entry("train", *tiny, f"device={device}"))
    assert f"device={device}: there are 0 CUDA devices here; use device=cpu or auto" in message


def test_half_precision_without_loss_scaling_is_refused(entry, tiny):
    assert "precision=fp16 trains on CUDA only" in the_message(entry("train", *tiny, "precision=fp16"))


def test_everything_that_is_wrong_is_said_at_once(entry, tiny):
    message = the_message(entry("train", *tiny, "max_steps=0", "select=rouge", "+fusion.x=1"))
    assert all(key in message for key in ("max_steps=0", "select=rouge", "fusion.x"))


def test_a_run_that_stopped_keeps_its_traceback_in_its_folder(entry, tiny):
    ran = entry("train", *tiny, "select=rouge")
    assert "ValueError" in (ran.folder / "error.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("checkpont=x", r"'checkpont'.*did you mean checkpoint"),
        ("split=tst", r"split=tst: expected one of train, val, test"),
        ("streams.drop=face", r"streams.drop=face.*list"),
        ("dataset.rot=x", r"'dataset.rot'.*dataset.root"),
        ("batch_frames=10", r"batch_size and batch_frames"),
        ("checkpoint=nowhere", r"checkpoint=nowhere: no such file or folder; give a run folder"),
        ("seed=1", r"checkpoint is missing: give it, as in checkpoint="),
    ],
)
def test_an_evaluation_that_cannot_be_meant_stops_with_one_message(entry, override, said):
    assert re.search(said, the_message(entry("eval", override)))


def test_what_is_our_fault_keeps_its_traceback(entry, tiny, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("slt.config.build.build_splits", broken)
    with pytest.raises(RuntimeError, match="ours"):
        entry("train", *tiny)


def test_a_message_of_our_own_stays_as_it_is():
    assert explain(ValueError("as it stands"), "train") == "as it stands"


def test_a_message_keeps_its_beginning_and_its_end_whatever_it_quotes() -> None:
    said = explain(ValueError(f"a.json: {'x' * 10**6}; make it anew"), "train")
    assert (said[:7], said[-14:], len(said) < 10_000) == ("a.json:", "; make it anew", True)


@pytest.mark.parametrize(
    "path",
    ["/d/a=b", "/d/a,b", "/d/Title [id].mp4", "[x]", "{x: 1}", "/d/señas", "a(1)", "/d/it's", 'a "b" c#\\', "a=b,c"],
)
def test_a_path_that_hydra_cannot_read_is_shown_as_it_must_be_typed(path):
    def typed(value: str) -> str:
        with initialize_config_dir(str(CONF), version_base=None):
            return compose("extract", [value]).source

    with pytest.raises(HydraException) as caught:
        typed(f"source={path}")
    shown = explain(caught.value, "extract").rpartition("shell: ")[2]
    assert typed(*shlex.split(shown)) == path


def test_a_path_that_the_shell_has_cut_at_a_blank_is_shown_whole(monkeypatch):
    monkeypatch.setattr("sys.argv", ["extract", "source=/d/my", "films", "out=x"])
    with initialize_config_dir(str(CONF), version_base=None), pytest.raises(HydraException) as caught:
        compose("extract", ["films"])
    assert shlex.quote('source="/d/my films"') in explain(caught.value, "extract")


def test_a_key_of_another_choice_of_a_group_is_not_proposed_to_itself(entry, tiny):
    message = the_message(entry("train", *tiny, "fusion=mean", "fusion.dropout=0.1"))
    assert "there is no key 'fusion.dropout'" in message
    assert "did you mean fusion.dropout" not in message
