"""Clusters of hidden frames: B clips, T frames, S streams, F numbers a frame, C clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor

from slt.config.build import build_translator, stream_shapes
from slt.models.search import Search
from slt.models.trained import Model
from slt.training.clusters import described, kmeans, spans
from slt.training.machine import Compute

KEYS = ("objective=clusters", "objective.num_clusters=4", "objective.fitted_frames=60", "objective.size=2",
        "objective.iterations=3")  # fmt: skip


@pytest.fixture
def stage(compose: Any, tiny: list[str], clips: Any, tokenizer: Any) -> Any:
    """The objective, begun, and its model with a downsampling of this much."""

    def make(downsample: int = 1) -> tuple[Any, Model]:
        torch.manual_seed(0)
        cfg = compose(*tiny, *KEYS, f"temporal.downsample={downsample}")
        objective = instantiate(cfg.objective, _convert_="all")
        labels = objective.labels(clips)
        translator = build_translator(cfg, tokenizer, stream_shapes(clips), labels=labels).eval()
        search = Search(num_beams=1, length_penalty=1.0, max_tokens=4)
        model = Model(translator=translator, tokenizer=None, search=search, glosses=tuple(labels))
        objective.begin(model, clips)
        return objective, model

    return make


def test_as_many_spans_are_hidden_as_published_and_never_padding() -> None:
    lengths = torch.tensor([300, 200, 2])
    frames = torch.arange(300) < lengths[:, None]
    hidden = spans(frames, 4, share=0.8, length=3, draws=torch.Generator().manual_seed(0))
    assert not hidden[~frames].any()
    assert hidden[2].any(0).all()  # one span at the least
    assert hidden[0].double().mean().item() == pytest.approx(1 - (1 - 0.8 / 3) ** 3, abs=0.03)
    for row in hidden[:2].permute(0, 2, 1).flatten(0, 1).tolist():
        runs = "".join("x" if each else " " for each in row).split()
        assert min(map(len, runs)) >= 3
    assert not torch.equal(hidden[0, :, 0], hidden[0, :, 1])  # each stream has its own
    single = spans(frames[:1], 1, share=0.1, length=1, draws=torch.Generator().manual_seed(0))
    assert single.sum() == 30


def test_nothing_of_a_hidden_frame_is_read(stage: Any, batch: Any) -> None:
    objective, model = stage()
    draws = torch.Generator()
    scores, wanted, asked = objective.guess(model.translator, batch, draws.manual_seed(1))
    hidden = spans(batch.frames, 4, share=0.8, length=3, draws=draws.manual_seed(1))
    changed = {}
    for i, (name, x) in enumerate(batch.streams.items()):
        where = hidden[:, :, i].view(*hidden.shape[:2], *[1] * (x.dim() - 2))
        changed[name] = torch.where(where, 200 if x.dtype == torch.uint8 else 3.0, x).to(x.dtype)
    other, targets, _ = objective.guess(model.translator, replace(batch, streams=changed), draws.manual_seed(1))
    torch.testing.assert_close(other, scores)
    assert not torch.equal(targets, wanted)
    assert not (asked & ~hidden).any()


@pytest.mark.parametrize("downsample", [1, 2])
def test_the_loss_is_cross_entropy_of_the_hidden_frames_that_were_seen(stage: Any, batch: Any, downsample: int) -> None:
    objective, model = stage(downsample)
    batch.seen["face"][:, ::2] = False
    scores, wanted, asked = objective.guess(model.translator, batch, torch.Generator().manual_seed(1))
    hidden = spans(batch.frames, 4, share=0.8, length=3, draws=torch.Generator().manual_seed(1))
    logs, nats, centres = scores.log_softmax(-1), [], model.translator.heads["clusters"]
    for i, name in enumerate(centres.streams):
        x, c = described(batch.streams[name], 2), getattr(centres, f"centres_{name}")
        for clip in range(3):
            for place in range(0, 20, downsample):  # a position stands on its first frame
                if hidden[clip, place, i] and batch.seen[name][clip, place]:
                    cluster = (x[clip, place] - c).norm(dim=1).argmin()
                    nats.append(-logs[clip, place // downsample, i, cluster].item())
    assert asked.sum() == len(nats) > 20
    objective.guess = lambda *_: (scores, wanted, asked)
    plain = sum(nats) / len(nats)
    assert objective(model.translator, batch).item() == pytest.approx(plain, rel=1e-5)
    found = objective.validate(model, [batch], Compute(torch.device("cpu"), "fp32"))
    assert found["val/loss"] == pytest.approx(plain, rel=1e-5)
    assert found["val/accuracy"] == pytest.approx(100 * (scores.argmax(-1) == wanted)[asked].double().mean().item())


def test_every_trained_part_gets_a_gradient_and_centres_are_saved(stage: Any, batch: Any) -> None:
    objective, model = stage()
    translator = model.translator
    objective(translator.train(), batch).backward()
    for name, p in translator.named_parameters():
        assert name.startswith("decoder.") or not p.requires_grad or (p.grad is not None and p.grad.any()), name
    saved = {name: x for name, x in translator.state_dict().items() if ".centres_" in name}
    several = {name.rpartition(".centres_")[2]: len(x.unique(dim=0)) for name, x in saved.items()}
    assert several == dict.fromkeys(batch.streams, 4)


def test_too_few_frames_for_the_clusters_are_named(compose: Any, clips: Any) -> None:
    overrides = (*KEYS, "objective.fitted_frames=20", "objective.num_clusters=30")
    objective = instantiate(compose(*overrides).objective, _convert_="all")
    with pytest.raises(ValueError, match=r"num_clusters=30: face is seen in 20 frames"):
        objective.fit(clips)


def test_clusters_that_lie_apart_are_found() -> None:
    draws = torch.Generator().manual_seed(0)
    middles: Tensor = 10 * torch.eye(3)
    x = (middles[:, None] + 0.1 * torch.randn(3, 50, 3, generator=draws)).flatten(0, 1)
    found = kmeans(x, 3, iterations=5, draws=draws)
    torch.testing.assert_close(found[found.argmax(0)], x.unflatten(0, (3, 50)).mean(1))
    assert kmeans(torch.zeros(5, 2), 3, iterations=1, draws=draws).isfinite().all()
