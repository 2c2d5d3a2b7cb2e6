"""slt/training/mska.py: heads over parts of the signer on the tiny translator, and what they learn from each other.

B clips, T' frames after the backbone, G gloss classes and the blank.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from slt.config.build import build_translator
from slt.evaluation.translation import translate
from slt.models.heads import agreed, sign_scores
from slt.models.search import Search
from slt.models.trained import Model
from slt.training.machine import Compute
from slt.training.mska import MskaLoss, distillation
from slt.training.objective import sentence_loss

SEARCH = Search(num_beams=1, length_penalty=1.0, max_tokens=3)
MSKA = (
    "backbone@streams.pose=dsta", "streams.pose.layers=[[4,4,2,3,2],[4,6,2,3,2]]", "streams.pose.num_heads=1",
    "dataset.only=[pose]", "fusion=single", "temporal=visual_head", "temporal.hidden=8", "objective=mska",
    "objective.head.hidden=8", "projector._target_=slt.models.LinearProjector",
)  # fmt: skip


@pytest.fixture
def parts(compose: Any, tokenizer: Any, tiny: list[str], batch: Any) -> Any:
    """The tiny translator with heads of parts; a batch of poses whose frames bear their glosses; and an objective."""
    from hydra.utils import instantiate

    batch.streams, batch.seen = {"pose": batch.streams["pose"]}, {"pose": batch.seen["pose"]}
    batch.glosses = ["A", "B A", "C"]
    own = [word for word in tiny if not word.startswith(("temporal.", "streams.pose."))]
    cfg = compose(*own, *MSKA)
    torch.manual_seed(0)
    made = build_translator(cfg, tokenizer, {"pose": list(batch.streams["pose"].shape[2:])}, labels=["A", "B", "C"])

    def objective(**changed: Any) -> MskaLoss:
        loss = instantiate(cfg.objective, _convert_="all", **changed)
        none: Any = SimpleNamespace(ids=[], columns={"gloss": []}, lengths=np.array([]))
        loss.begin(Model(translator=made, tokenizer=None, search=SEARCH, glosses=("A", "B", "C")), none)
        return loss

    return SimpleNamespace(model=made, batch=batch, objective=objective, tokenizer=tokenizer)


def test_the_loss_is_the_sum_of_each_head_s_ctc_and_divergence_a_clip(parts: Any) -> None:
    model, batch = parts.model.eval(), parts.batch
    features: dict[str, Any] = {}
    memory, present = model.encoder(batch.streams, batch.seen, batch.frames, features)
    assert present.sum(1).tolist() == [-(-frames // 4) for frames in batch.lengths]
    logs = {name: x.log_softmax(2) for name, x in sign_scores(model.heads, memory, present, features).items()}
    assert [*logs] == ["gloss", "left", "right", "body"]  # this skeleton has no face
    teacher = torch.stack([x.exp() for x in logs.values()]).mean(0)
    signs, apart = 0.0, 0.0
    for log in logs.values():
        for clip, glosses in enumerate(([1], [2, 1], [3])):
            real = log[clip, : int(present[clip].sum())]
            signs += functional.ctc_loss(
                real, torch.tensor([glosses]), [len(real)], [len(glosses)], reduction="sum"
            ).item()
            apart += functional.kl_div(real, teacher[clip, : len(real)], reduction="sum").item()
    assert parts.objective()(model, batch).item() == pytest.approx((signs + apart) / 3, rel=1e-5)
    weighed = parts.objective(gloss_weight=0.5, distill_weight=2.0)(model, batch).item()
    assert weighed == pytest.approx((0.5 * signs + 2 * apart) / 3, rel=1e-5)
    sentence = sentence_loss(model(batch), batch.tokens, batch.tokens_mask, label_smoothing=0.1).item()
    both = parts.objective(sentence_weight=2.0, label_smoothing=0.1)(model, batch).item()
    assert both == pytest.approx((signs + apart) / 3 + 2 * sentence, rel=1e-5)


def test_the_first_measure_is_of_what_is_trained(parts: Any) -> None:
    assert parts.objective().measures[0] == "gloss_wer"
    assert parts.objective(sentence_weight=1.0).measures[0] == "bleu"


def test_every_part_that_recognises_gets_a_gradient_and_the_decoder_none(parts: Any) -> None:
    model = parts.model.train()
    parts.batch.seen["pose"][0] = False  # so that the embedding of what was not seen takes part
    loss = parts.objective()(model, parts.batch)
    assert torch.isfinite(loss)
    loss.backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == {name for name, _ in model.named_parameters() if name.startswith("decoder.")}


def test_the_teacher_learns_nothing_from_its_pupils() -> None:
    scores = [torch.randn(1, 2, 3, requires_grad=True) for _ in range(2)]
    present = torch.tensor([[True, False]])
    distillation(scores, present).backward()
    teacher = torch.stack([x.softmax(2) for x in scores]).mean(0).detach()
    for x in scores:
        assert x.grad is not None
        torch.testing.assert_close(x.grad[:, 0], (x.softmax(2) - teacher)[:, 0].detach())
        assert not x.grad[:, 1].any()


def test_evaluation_recognises_by_what_all_heads_agree_on(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def keep(scores: Any, present: Any, glosses: Any, **options: Any) -> list[dict[str, str]]:
        asked.append(scores)
        return [{"gloss_wer": "A"}] * len(present)

    monkeypatch.setattr("slt.evaluation.translation.recognise", keep)
    model, batch = parts.model.eval(), parts.batch
    whole = Model(translator=model, tokenizer=parts.tokenizer, search=SEARCH, glosses=("A", "B", "C"))
    translate(whole, [batch], SEARCH, Compute(torch.device("cpu"), "fp32"))
    features: dict[str, Any] = {}
    with torch.no_grad():
        memory, present = model.encoder(batch.streams, batch.seen, batch.frames, features)
        wanted = agreed([*sign_scores(model.heads, memory, present, features).values()])
    torch.testing.assert_close(asked[0], wanted)


def test_what_cannot_bear_heads_of_parts_is_refused(parts: Any) -> None:
    loss, model = parts.objective(), parts.model
    with pytest.raises(ValueError, match="no column `gloss`"):
        loss.labels(SimpleNamespace(columns={}))
    model.encoder.temporal.stride = 2
    with pytest.raises(ValueError, match="take one that shortens nothing"):
        loss.heads(model, ["A"])
    model.encoder.backbones["pose"] = nn.Identity()
    with pytest.raises(ValueError, match=r"take backbone@streams\.pose=dsta"):
        loss.heads(model, ["A"])


def test_an_update_waits_for_no_number(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ctc(logs: Any, targets: Any, lengths: list[int], counts: list[int], **_: Any) -> Any:
        assert all(type(number) is int for number in (*lengths, *counts))
        return logs.sum() * targets.sum()  # it has no form for tensors without values

    monkeypatch.setattr(functional, "ctc_loss", ctc)
    model, batch = parts.model.train().to("meta"), parts.batch.to(torch.device("meta"))
    parts.objective(sentence_weight=1.0)(model, batch).backward()
