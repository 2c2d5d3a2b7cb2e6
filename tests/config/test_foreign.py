"""What a checkpoint, an export or a corpus of somebody else names is not run."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from slt.config.build import REBUILT, carried, restore, stream_shapes
from slt.config.checks import CONF
from slt.config.foreign import refuse_code
from slt.inference.open import fit_extractor

COMMANDS = [
    "os.system",
    "subprocess.run",
    "builtins.exec",
    "slt.config.foreign.nn.Module",  # a module's imports are names in it too
    "slt.models.tokenizer.os.system",
    "slt.corpora.layout.write_index",  # ours, and it writes files
    "slt.config.checks.locate",  # ours, and it imports by name
    "torch.load",
    "torch.nn.init.zeros_",
    "transformers.pipeline",
    "nowhere.at_all",
    ["os.system"],
]


@pytest.mark.parametrize("target", COMMANDS, ids=str)
def test_what_a_file_names_is_not_called_unless_it_is_part_of_a_model(target):
    with pytest.raises(ValueError, match="a.pt: streams"):
        refuse_code({"face": [{"deep": {"_target_": target}}]}, "a.pt: streams")


def test_a_name_in_a_file_is_not_even_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text("open('imported', 'w').close()\nfrom os import system\nclass Net: pass\n")
    with pytest.raises(ValueError, match=r"mine\.Net is refused.*trust=\[mine\]"):
        refuse_code({"_target_": "mine.Net"}, "a.pt: streams")
    assert not Path("imported").exists()
    refuse_code({"_target_": "mine.Net"}, "a.pt: streams", ["mine"])
    with pytest.raises(ValueError, match="refused"):  # trusted is what a package defines, not what it imports
        refuse_code({"_target_": "mine.system"}, "a.pt: streams", ["mine"])


def test_every_part_that_our_own_configuration_names_may_be_rebuilt():
    groups = {"backbone", *REBUILT}  # the projector stands in train.yaml itself, and is part of `payload`
    files = [path for group in groups for path in (CONF / group).glob("*.yaml")]
    found = [yaml.safe_load(path.read_text(encoding="utf-8").replace("${", "$ {")) for path in files]
    assert len(found) > 15
    for path, node in zip(files, found, strict=True):
        if path.parent.name != "objective" or "_target_" in node:  # those of pretraining are in no such checkpoint
            refuse_code(node, path.name)


@pytest.fixture
def payload(build, compose, tiny, tokenizer, clips):
    cfg, translator = compose(*tiny), build()
    return carried(cfg, translator, tokenizer, stream_shapes(clips), [], clips) | {"model": translator.state_dict()}


@pytest.mark.parametrize("group", REBUILT)
def test_a_checkpoint_that_names_a_command_is_refused_and_runs_nothing(payload, group):
    cfg = OmegaConf.create(payload["config"])
    cfg[group].more = {"_target_": "os.system", "command": "touch ran"}
    with pytest.raises(ValueError, match=rf"last\.pt: {group}\.more.*os\.system is refused"):
        restore(payload | {"config": OmegaConf.to_yaml(cfg)}, Path("last.pt"))
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [1]\nb: *a", "aliases"),
        ("a: !!python/object/apply:os.system ['touch ran']", "could not determine a constructor"),
        ("[1, 2]", "expected keys"),
        ("a: 1", "dataset"),
    ],
)
def test_a_configuration_that_is_none_is_one_message_that_names_the_checkpoint(payload, text, said):
    with pytest.raises(ValueError, match=rf"last\.pt.*{said}"):
        restore(payload | {"config": text}, Path("last.pt"))
    assert not Path("ran").exists()


def test_a_checkpoint_does_not_read_the_environment(payload):
    cfg = OmegaConf.create(payload["config"])
    cfg.dataset.root = "${oc.env:HOME}"
    with pytest.raises(ValueError, match=r"dataset\.root: \$\{oc\.env:HOME\} is refused"):
        restore(payload | {"config": OmegaConf.to_yaml(cfg)}, Path("last.pt"))


@pytest.mark.parametrize("key", ["config", "hf_config", "tokenizer", "shapes", "glosses", "model"])
def test_a_checkpoint_without_one_of_its_parts_is_one_message(payload, key):
    with pytest.raises(ValueError, match=r"last\.pt: .*was it changed"):
        restore({name: value for name, value in payload.items() if name != key}, Path("last.pt"))
    with pytest.raises(ValueError, match=r"last\.pt: "):
        restore(payload | {key: torch.zeros(2)}, Path("last.pt"))


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("temporal", "depth", 10**7),
        ("decoder", "config", {"num_layers": 10**7}),
        ("streams", "pose", {"num_features": 2 * 10**6}),
    ],
)
def test_a_model_far_larger_than_its_weights_is_not_built(payload, group, key, value):
    cfg, config = OmegaConf.create(payload["config"]), json.loads(payload["hf_config"])
    if group == "decoder":
        config |= value
    else:
        OmegaConf.update(cfg, f"{group}.{key}", value, merge=True)
    with pytest.raises(ValueError, match=r"last\.pt: .*far larger than"):
        restore(payload | {"config": OmegaConf.to_yaml(cfg), "hf_config": json.dumps(config)}, Path("last.pt"))


def test_a_tensor_of_more_numbers_than_are_stored_is_refused(payload):
    for key in ("model", "tokenizer"):
        name = next(iter(payload[key]))
        lying = payload[key] | {name: torch.zeros(1, dtype=torch.uint8).expand(10**12)}
        with pytest.raises(ValueError, match=rf"last\.pt: .*{name}.*not so many are stored"):
            restore(payload | {key: lying}, Path("last.pt"))


def test_a_decoder_that_wants_code_of_others_is_refused(payload):
    config = payload["hf_config"].replace("{", '{"auto_map": {"AutoModelForSeq2SeqLM": "x--y.Z"}, ', 1)
    with pytest.raises(ValueError, match=r"hf_config\.auto_map.*code of others"):
        restore(payload | {"hf_config": config}, Path("last.pt"))


@pytest.mark.parametrize("part", [{"crop_size": {"_target_": "os.system"}}, {"_target_": "os.system"}], ids=str)
def test_the_extractor_of_an_export_does_not_say_what_is_called(part):
    keys = {"_target_": "a", "crop_size": 224}
    for parameters in (part, {"landmarks": part}):
        with pytest.raises(ValueError, match="extractor_settings.*plain values"):
            fit_extractor({"parameters": parameters}, keys, keys)
