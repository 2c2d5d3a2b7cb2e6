"""Words of the sentence as weak labels, beside their authors' form: B clips, T' frames, D width, P prototype width."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor

from slt.config.build import build_translator, stream_shapes
from slt.models.search import Search
from slt.models.trained import Model
from slt.training.machine import Compute
from slt.training.pseudo_gloss import Prototypes, PseudoGlosses

SENTENCES = ["Ein Hund läuft.", "Ein Hund schläft", "Ein Haus", "Ein Hund, ein Haus und Ob."]


class Sentences(SimpleNamespace):
    """Clips of which only the sentences are looked at."""

    texts = SENTENCES

    def __len__(self) -> int:
        return len(self.texts)


def make(**keys: Any) -> PseudoGlosses:
    """The objective with these keys."""
    plain: dict[str, Any] = {"min_count": 2, "max_share": 0.8, "min_letters": 3, "lemmas": None, "vectors": None}
    return PseudoGlosses(**plain | {"prototypes": Prototypes, "weight": 10.0} | keys)


def model_of(head: Any, words: list[str]) -> Model:
    """A model that is its head, on an encoder that hands on what it gets."""
    translator: Any = SimpleNamespace(heads={"words": head}, encoder=lambda streams, seen, frames: (streams, frames))
    search = Search(num_beams=1, length_penalty=1.0, max_tokens=4)
    return Model(translator=translator, tokenizer=None, search=search, glosses=tuple(words))


def batch_of(memory: Tensor, texts: list[str]) -> Any:
    frames = torch.ones(memory.shape[:2], dtype=torch.bool)
    made = SimpleNamespace(streams=memory, seen=None, frames=frames, texts=texts, counts=True)
    batch: Any = type("Batch", (SimpleNamespace,), {"__len__": lambda self: len(texts)})(**vars(made))
    batch.to = lambda device: batch
    return batch


@pytest.fixture
def head() -> Prototypes:
    torch.manual_seed(0)
    made = Prototypes(embed_dim=4, num_words=3, width=5, dropout=0.5, temperature=0.1).eval()
    with torch.no_grad():
        made.temperatures.copy_(torch.tensor([0.2, 0.005]))
    return made


def plain(head: Prototypes, memory: Tensor) -> list[float]:
    """A word's score in a clip (T', D), by the definition."""
    weight, bias, vectors = head.linear.weight.detach(), head.linear.bias.detach(), head.vectors.detach()
    fit = []
    for frame in memory:
        x = weight @ frame + bias
        fit.append([float(x @ word / x.norm() / word.norm()) for word in vectors] + [0.0])
    scores = []
    for word in range(len(head.vectors)):
        score = 0.0
        for row in fit:
            what = math.exp(row[word] / 0.2) / sum(math.exp(each / 0.2) for each in row)
            where = math.exp(row[word] / 0.01) / sum(math.exp(other[word] / 0.01) for other in fit)  # no lower
            score += what * where
        scores.append(score)
    return scores


def test_scores_and_loss_are_those_of_the_authors(head: Prototypes) -> None:
    memory, words = torch.randn(2, 6, 4), ["haus", "hund", "und"]
    scores = [plain(head, clip) for clip in memory]
    torch.testing.assert_close(head(memory, torch.ones(2, 6) > 0).tolist(), scores, rtol=1e-4, atol=1e-6)
    objective, model = make(), model_of(head, words)
    objective.begin(model, Sentences())
    loss = objective(model.translator, batch_of(memory, ["Hund und Hund", "Haus"]))
    wanted = [[0, 1, 1], [1, 0, 0]]
    nats = [-math.log(p if w else 1 - p) for row, want in zip(scores, wanted, strict=True)
            for p, w in zip(row, want, strict=True)]  # fmt: skip
    assert loss.item() == pytest.approx(10 * sum(nats) / 6, rel=1e-4)


def test_padding_changes_no_score(head: Prototypes) -> None:
    memory = torch.randn(1, 6, 4)
    alone = head(memory, torch.ones(1, 6) > 0)
    longer = torch.cat([memory, torch.randn(1, 3, 4)], dim=1)
    torch.testing.assert_close(head(longer, torch.arange(9)[None] < 6), alone)


def test_labels_are_words_neither_rare_nor_everywhere_nor_short() -> None:
    assert make().labels(Sentences()) == ["haus", "hund"]  # "ein" is in all
    assert make(min_count=1).labels(Sentences()) == ["haus", "hund", "läuft", "schläft", "und"]
    assert make(max_share=0.5).labels(Sentences()) == ["haus"]
    with pytest.raises(ValueError, match="none of 7 words"):
        make(min_letters=9).labels(Sentences())


def test_a_table_says_the_lemmas_and_what_is_no_label(tmp_path: Path) -> None:
    table = tmp_path / "lemmas.tsv"
    table.write_text("läuft\tgehen\nschläft\tgehen\nhund\thund\n")
    assert make(lemmas=table).labels(Sentences()) == ["gehen", "hund"]
    with pytest.raises(FileNotFoundError, match=r"objective\.lemmas"):
        make(lemmas=tmp_path / "no").labels(Sentences())


def test_vectors_of_a_file_are_taken_and_kept(head: Prototypes, tmp_path: Path) -> None:
    table = tmp_path / "words.vec"
    table.write_text("2 5\nhund 1 2 3 4 5\nkatze 5 5 5 5 5\n")
    before = head.vectors.detach().clone()
    make(vectors=table).begin(model_of(head, ["haus", "hund", "und"]), Sentences())
    assert head.vectors[1].tolist() == [1, 2, 3, 4, 5]
    assert torch.equal(head.vectors[[0, 2]], before[[0, 2]])
    assert not head.vectors.requires_grad
    table.write_text("hund 1 2\n")
    with pytest.raises(ValueError, match=r"2 numbers.*width is 5"):
        make(vectors=table).begin(model_of(head, ["hund"]), Sentences())


def test_what_is_found_and_said_is_counted_over_all_clips() -> None:
    words = ["haus", "hund", "und"]
    scores = {"x": [0.9, 0.8, 0.1], "y": [0.4, 0.3, 0.6], "z": [0.2, 0.3, 0.1]}
    objective = make()
    model = model_of(lambda memory, present: memory[:, 0], words)
    objective.begin(model, Sentences())
    first = batch_of(torch.tensor([scores["x"], scores["y"]])[:, None], ["Hund und Haus", "Haus"])
    second = batch_of(torch.tensor([scores["z"]])[:, None], ["Hund"])
    found = objective.validate(model, [first, second], Compute(torch.device("cpu"), "fp32"))
    # Five words: of the three of x all are among its best three, of y's one none, of z's one one. Said are three.
    assert found["val/found"] == 80
    assert found["val/precision"] == pytest.approx(200 / 3)
    assert found["val/recall"] == 40
    assert found["val/f1"] == pytest.approx(50)


def test_every_trained_part_gets_a_gradient(
    compose: Any, tiny: list[str], clips: Any, tokenizer: Any, batch: Any
) -> None:
    cfg = compose(*tiny, "objective=pseudo_gloss")
    objective = instantiate(cfg.objective, _convert_="all")
    labels = objective.labels(clips)
    model = build_translator(cfg, tokenizer, stream_shapes(clips), labels=labels)
    objective.begin(model_of(model.heads["words"], labels), clips)
    for mask in batch.seen.values():
        mask[:, 0] = False  # so that the embeddings of what was not seen take part
    objective(model.train(), batch).backward()
    idle = {name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    assert all(name.startswith("decoder.") for name in idle)
