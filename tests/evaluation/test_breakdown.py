"""Scores of parts of a split, and how alike translations are."""

from __future__ import annotations

from slt.evaluation.breakdown import Variety, by_group, gloss_scores, worst
from slt.evaluation.metrics import score
from slt.evaluation.prediction import Prediction
from slt.evaluation.settings import Conventions


def said(hypothesis: str, reference: str, **beside) -> Prediction:
    return Prediction("c", reference, hypothesis, 0.0, **beside)


WORDS = ["uno", "uno dos tres cuatro", "uno dos tres cuatro cinco seis siete ocho"]
SPLIT = [
    said(text if signer == "ana" else "no", text, signer=signer, seen=seen, gloss=gloss, recognised={"gloss_wer": "A"})
    for signer, gloss in (("ana", "A"), ("eva", "B C"), ("", ""))
    for text, seen in zip(WORDS, (1.0, 0.7, 0.2), strict=True)
]


def test_each_part_scores_what_its_clips_alone_score() -> None:
    found = by_group(SPLIT, bootstrap=20, seed=1)
    assert {kind: {name: group.clips for name, group in groups.items()} for kind, groups in found.items()} == {
        "signer": {"ana": 3, "eva": 3, "not named": 3},
        "length": {"1 words": 3, "4 words": 3, "8 words": 3},
        "seen": {"all frames": 3, "50 to 90 %": 3, "less than 50 %": 3},
    }
    alone = score(["no"] * 3, WORDS, bootstrap=20, seed=1, only=("bleu", "chrf"))
    assert {name: found["signer"]["eva"].scores[name] for name in alone} == alone
    assert found["signer"]["eva"].scores["gloss_wer"].value == 100
    assert "gloss_wer" not in found["signer"]["not named"].scores
    assert "signer" not in by_group([said("a", "a")], bootstrap=0, seed=1)


def test_parts_are_scored_by_the_conventions_and_characters_are_words() -> None:
    split = [said("他今天", "他 今 天"), said("我", "我")]
    rules = Conventions(tokenize="char", characters=True)
    found = by_group(split, conventions=rules, bootstrap=0, seed=1)
    assert [*found["length"]] == ["1 words", "3 words"]
    assert all("|by:characters" in group.scores["bleu"].signature for group in found["length"].values())
    assert found["seen"]["all frames"].scores["bleu"].value == score(
        ["他今天", "我"], ["他今天", "我"], conventions=rules, bootstrap=0, seed=1
    )["bleu"].value  # fmt: skip


def test_the_worst_part_is_of_ten_clips_where_there_is_one() -> None:
    assert worst(by_group(SPLIT, bootstrap=0, seed=1)["signer"]) == "eva"
    most = by_group([*SPLIT, *(said("uno", "uno", signer="luz") for _ in range(10))], bootstrap=0, seed=1)
    assert worst(most["signer"]) == "luz"


def test_clips_without_glosses_do_not_count() -> None:
    scored = gloss_scores(SPLIT, bootstrap=0, seed=1)
    assert scored["gloss_wer"].value == 100 * (3 * 0 + 3 * 2) / (3 * 1 + 3 * 2)
    assert gloss_scores([said("a", "a")], bootstrap=0, seed=1) == {}


def test_variety_counts_different_sentences_and_the_most_frequent() -> None:
    found = Variety.of([said(text, str(i)) for i, text in enumerate(("a", "b", "a", "c", ""))])
    assert (found.sentences, found.references, found.most_frequent, found.sentence) == (4, 5, 40.0, "a")
