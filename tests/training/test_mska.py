"""slt/training/mska.py: heads over parts of the signer on the tiny translator, and what they learn from each other.

B clips, T' frames after the backbone, G gloss classes and the blank.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
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
from slt.training.mska import MskaLoss, Published, distillation
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


def theirs(widths: dict[str, int], width: int, hidden: int, classes: int) -> dict[str, torch.Tensor]:
    """The heads of a file of the authors', by their names: head -> how many features it sees; drawn at random."""
    torch.manual_seed(3)
    made: dict[str, torch.Tensor] = {}
    for head, given in widths.items():
        shapes = {
            "fc1": (width, given), "bn1.norm": (width,), "feedforward.layer_norm": (width,),
            "feedforward.pwff_layer.0": (hidden, width, 3), "feedforward.pwff_layer.3": (width, hidden, 3),
            "layer_norm": (width,), "gloss_output_layer": (classes, width),
        }  # fmt: skip
        own = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
        own |= {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
        own |= {"bn1.norm.running_mean": torch.randn(width), "bn1.norm.running_var": torch.rand(width) + 0.5}
        own |= {"bn1.norm.num_batches_tracked": torch.tensor(7), "pe.pe": torch.zeros(1, 9, width)}
        made |= {f"recognition_network.{head}_visual_head.{name}": x for name, x in own.items()}
    return made | {"recognition_network.visual_backbone_keypoint.face_input_map.0.bias": torch.ones(2)}


def plain_head(file: dict[str, torch.Tensor], head: str, x: torch.Tensor) -> torch.Tensor:
    """Scores of features (B, T', F) by a head of a file, with the names of the authors."""
    own = {key.split("_visual_head.")[1]: value for key, value in file.items() if f".{head}_visual_head." in key}

    def of(name: str) -> list[torch.Tensor]:
        return [own[f"{name}.weight"], own[f"{name}.bias"]]

    x = functional.linear(x, *of("fc1"))
    mean, var = own["bn1.norm.running_mean"], own["bn1.norm.running_var"]
    x = functional.batch_norm(x.transpose(1, 2), mean, var, *of("bn1.norm")).relu().transpose(1, 2)
    for t in range(x.shape[1]):
        for i in range(0, x.shape[2], 2):
            angle = torch.tensor(t / 10000 ** (i / x.shape[2]))
            x[:, t, i], x[:, t, i + 1] = x[:, t, i] + angle.sin(), x[:, t, i + 1] + angle.cos()
    y = functional.layer_norm(x, x.shape[2:], *of("feedforward.layer_norm"), 1e-6).transpose(1, 2)
    y = functional.conv1d(y, *of("feedforward.pwff_layer.0"), padding=1).relu()
    y = functional.conv1d(y, *of("feedforward.pwff_layer.3"), padding=1).transpose(1, 2)
    return functional.linear(
        functional.layer_norm(x + y, x.shape[2:], *of("layer_norm"), 1e-6), *of("gloss_output_layer")
    )


def begun(parts: Any, tmp_path: Path, *, count: int, classes: str | None = None) -> dict[str, torch.Tensor]:
    """A made-up file of the authors', after an objective has begun with it."""
    width = parts.model.embed_dim
    file = theirs({"fuse": 18, "left": 6, "right": 6, "body": 6}, width, 8, count)
    torch.save({"model": file}, tmp_path / "best.pth")
    parts.objective(published=Published(weights=str(tmp_path / "best.pth"), classes=classes))
    return file


def written(path: Path, *names: str) -> str:
    path.write_bytes(pickle.dumps({name: i for i, name in enumerate(names)}))
    return str(path)


def test_published_heads_load_by_name_and_give_their_authors_scores(parts: Any, tmp_path: Path) -> None:
    order = written(tmp_path / "gloss2ids.pkl", "<si>", "c", "a", "b")
    file = begun(parts, tmp_path, count=4, classes=order)
    model, batch = parts.model.eval(), parts.batch
    batch.frames[:] = batch.seen["pose"][:] = True  # theirs knows no padding
    features: dict[str, Any] = {}
    memory, present = model.encoder(batch.streams, batch.seen, batch.frames, features)
    own, scores = features["pose"], sign_scores(model.heads, memory, present, features)
    for head, seen in {"gloss": own, "left": own[..., :6], "right": own[..., 6:12], "body": own[..., 12:]}.items():
        wanted = plain_head(file, {"gloss": "fuse"}.get(head, head), seen)
        torch.testing.assert_close(scores[head], wanted, atol=1e-4, rtol=1e-4)


def test_the_classes_of_a_published_file_are_spelt_as_the_corpus_is_and_others_are_unknown(
    parts: Any, tmp_path: Path
) -> None:
    order = written(tmp_path / "gloss2ids.pkl", "<si>", "<unk>", "wind", "ab")
    loss = parts.objective(published=Published(weights=None, classes=order))
    clips: Any = SimpleNamespace(columns={"gloss": ["AB WIND", "Wind NEU"]}, ids=["1", "2"], lengths=np.array([9, 9]))
    assert loss.labels(clips) == ["<unk>", "WIND", "AB"]
    loss.begin(Model(translator=parts.model, tokenizer=None, search=SEARCH, glosses=("<unk>", "WIND", "AB")), clips)
    assert loss.place == {"<unk>": 1, "WIND": 2, "AB": 3, "Wind": 2, "NEU": 1}
    with pytest.raises(ValueError, match=r"expected gloss2ids\.pkl of MSKA"):
        parts.objective(published=replace(loss.published, classes=written(tmp_path / "o.pkl", "ab"))).labels(clips)


def test_last_layers_of_another_number_of_classes_are_refused_and_of_an_unknown_order_left(
    parts: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    order = written(tmp_path / "gloss2ids.pkl", "<si>", "c", "a", "b")
    with pytest.raises(ValueError, match=r"it has 5 classes and published\.classes 4"):
        begun(parts, tmp_path, count=5, classes=order)
    before = {name: head.leave.weight.clone() for name, head in parts.model.heads.items() if name != "gloss"}
    file = begun(parts, tmp_path, count=5)
    assert "has 5 classes in an order" in caplog.text
    for name, weight in before.items():
        head = parts.model.heads[name]
        assert torch.equal(head.leave.weight, weight)
        assert torch.equal(head.enter.bias, file[f"recognition_network.{name}_visual_head.fc1.bias"])
    parts.model.encoder.temporal = nn.Identity()
    with pytest.raises(ValueError, match="temporal=visual_head"):
        begun(parts, tmp_path, count=5)


def test_an_update_waits_for_no_number(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def ctc(logs: Any, targets: Any, lengths: list[int], counts: list[int], **_: Any) -> Any:
        assert all(type(number) is int for number in (*lengths, *counts))
        return logs.sum() * targets.sum()  # it has no form for tensors without values

    monkeypatch.setattr(functional, "ctc_loss", ctc)
    model, batch = parts.model.train().to("meta"), parts.batch.to(torch.device("meta"))
    parts.objective(sentence_weight=1.0)(model, batch).backward()
