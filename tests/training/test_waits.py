"""No update asks a GPU for a number before it is done: proved without one, by tensors that have none to give."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

import slt.models
from slt.commands.pretrain import build_twins
from slt.config.build import build_translator, stream_shapes
from slt.models.backbones.seen import on_all, on_seen
from slt.pretraining.views import Views
from slt.training.finite import FirstBad
from slt.training.loop import parameter_groups
from slt.training.objective import TranslationLoss

# fmt: off
RECIPES = {
    "default": (),
    "downsampled": ("fusion=concat", "temporal.downsample=2"),
    "mean": ("fusion=mean", "temporal=conv"),
    "bart_with_its_encoder": ("fusion=cross_attention", "decoder.text_encoder=true", "decoder.prompt=la casa",
                               "decoder.config.encoder_layers=1",
                              "+decoder.config.encoder_attention_heads=2"),
    "t5": ("temporal=conformer", "decoder.architecture=t5", "decoder.text_encoder=true", "~decoder.config",
           "+decoder.config={d_model:16,d_kv:8,num_heads:2,d_ff:32,num_layers:1}"),
}
# fmt: on


def at(move: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """A batch with each of its tensors moved."""

    def each(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: each(part) for name, part in value.items()}
        return move(value) if isinstance(value, Tensor) else value

    return replace(batch, **{part.name: each(getattr(batch, part.name)) for part in fields(batch)})


def move_model(model: nn.Module, move: Callable[[Tensor], Tensor]) -> None:
    """In place, and what is shared stays shared."""
    moved: dict[int, Any] = {}
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                new = moved.setdefault(id(value), nn.Parameter(move(value.detach()), value.requires_grad))
                module._parameters[name] = new
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = move(buffer)


@pytest.fixture
def lengths_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """CTC has no form for tensors without values; given plain numbers for its lengths it does not wait."""

    def ctc(logs: Tensor, targets: Tensor, lengths: list[int], counts: list[int], **_: Any) -> Tensor:
        assert all(type(number) is int for number in (*lengths, *counts))
        assert len(lengths) == logs.shape[1]
        return logs.sum() * targets.sum()

    monkeypatch.setattr(functional, "ctc_loss", ctc)


def check(model: Any, batch: Any) -> None:
    glosses = sorted({gloss for text in batch.glosses for gloss in text.split()})
    model.train()
    asked = {"label_smoothing": 0.1, "gloss_weight": 1.0, "stream_weight": 1.0}
    model.heads.update(TranslationLoss(**asked, flat_start=0).heads(model, glosses))
    mode = FakeTensorMode()

    def fake(tensor: Tensor) -> Tensor:
        held = mode.from_tensor(tensor)
        with mode:
            return held.to("cuda")

    for flat_start in (0, 9):
        loss = TranslationLoss(**asked, flat_start=flat_start)
        loss.place = {gloss: place for place, gloss in enumerate(glosses, start=1)}
        # Autograd needs a GPU's driver even for tensors that are not there, so the way back is gone without values.
        meta = Meta(model)
        meta.update(loss, at(lambda tensor: tensor.to("meta"), batch))
    move_model(model, fake)
    for flat_start in (0, 9):
        loss = TranslationLoss(**asked, flat_start=flat_start)
        loss.place = {gloss: place for place, gloss in enumerate(glosses, start=1)}
        there = at(fake, batch)
        with mode:
            assert loss(model, there).device.type == "cuda"


class Meta:
    """A model of tensors without values, and an update of it as the loop makes it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).to("meta")
        groups = parameter_groups(self.model, lr=1e-3, rates={})
        self.optimizer = torch.optim.AdamW(groups, foreach=True)
        self.first_bad = FirstBad()

    def update(self, objective: Any, batch: Any) -> None:
        total = objective(self.model, batch)
        total.backward()
        self.first_bad.note(total.detach(), 1)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)


@pytest.mark.usefixtures("lengths_are_numbers")
@pytest.mark.parametrize("recipe", RECIPES)
def test_an_update_waits_for_no_number(recipe: str, build: Any, batch: Any) -> None:
    check(build(*RECIPES[recipe]), batch)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
@pytest.mark.parametrize("recipe", RECIPES)
def test_encoder_and_decoder_compile_without_a_break(recipe: str, build: Any, batch: Any) -> None:
    model = build(*RECIPES[recipe]).train().to("meta")  # where all frames are computed, as on a GPU
    made: list[Any] = []

    def graph(module: Any, _: Any) -> Any:
        made.append(module)
        return module.forward

    model.compile(backend=graph, fullgraph=True)
    loss = TranslationLoss(label_smoothing=0.1, gloss_weight=0.0, flat_start=0)
    loss(model, at(lambda tensor: tensor.to("meta"), batch)).backward()
    assert len(made) == 2


@pytest.mark.parametrize("name", ["ViTLight", "TimmBackbone"])
def test_a_backbone_waits_for_no_number(name: str) -> None:
    given: dict[str, dict[str, Any]] = {
        "ViTLight": {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2},
        "TimmBackbone": {"model_name": "vit_tiny_patch16_224", "options": {"img_size": 32}},
    }
    backbone = getattr(slt.models, name)(**given[name], weights=None, frozen=False).to("meta")
    seen = torch.zeros(2, 3, dtype=torch.bool, device="meta")
    out = backbone(torch.zeros(2, 3, 3, 32, 32, dtype=torch.uint8, device="meta"), seen)
    assert out.shape == (2, 3, backbone.num_features)


def test_frames_computed_for_nothing_change_nothing() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.LayerNorm(5))
    x, seen = torch.randn(3, 4, 3, 4), torch.rand(3, 4) < 0.6
    chosen, whole = on_seen(network, x, seen), on_all(network, x, seen)
    torch.testing.assert_close(chosen, whole)
    grads = [torch.autograd.grad(out.square().sum(), list(network.parameters())) for out in (chosen, whole)]
    torch.testing.assert_close(*grads)


def test_batch_normalisation_never_sees_a_frame_that_is_not_there() -> None:
    network: Any = slt.models.TimmBackbone(model_name="resnet18", options={}, weights=None, frozen=False)
    assert network.together
    assert not slt.models.TimmBackbone(model_name="resnet18", options={}, weights=None, frozen=True).together


def test_the_first_loss_that_is_not_finite_is_named_when_asked_for() -> None:
    first_bad = FirstBad()
    for step, loss in enumerate((1.0, float("inf"), 2.0, float("nan")), start=1):
        first_bad.note(torch.tensor(loss), step)
    assert (first_bad.step, first_bad.loss) == (2, float("inf"))


@pytest.mark.parametrize("objective", ["dino", "ibot", "dinov2", "simclr", "moments"])
def test_an_update_of_pretraining_waits_for_no_number(
    objective: str, compose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it has no form for tensors without values
    cfg = compose(f"objective={objective}", "clips=2", "augment.parts=2", "drift=0.01", name="pretrain")
    twins, loss = build_twins(cfg)
    views = Views(
        torch.zeros(2, 4, 3, 40, 40, dtype=torch.uint8), torch.zeros(2, 4, 3, 24, 24, dtype=torch.uint8),
        torch.arange(4), torch.zeros(4),
    )  # fmt: skip
    Meta(twins).update(loss, at(lambda tensor: tensor.to("meta"), views))


@pytest.mark.parametrize("objective", ["clip", "pseudo_gloss", "clusters"])
def test_an_update_of_a_stage_before_translation_waits_for_no_number(
    objective: str, compose: Any, tiny: list[str], clips: Any, tokenizer: Any, batch: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it has no form for tensors without values
    cfg = compose(*tiny, f"objective={objective}")
    stage = instantiate(cfg.objective, _convert_="all")
    labels = stage.labels(clips)
    model = build_translator(cfg, tokenizer, stream_shapes(clips), labels=labels).train()
    stage.place = {label: place for place, label in enumerate(labels)}
    Meta(model).update(stage, at(lambda tensor: tensor.to("meta"), batch))
