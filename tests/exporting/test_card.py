"""The model card: what is stated is in it, what is not is said not to be, and the hub reads its header."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from slt.exporting.card import Facts, card

STREAM = SimpleNamespace(name="face", kind="crops")
MANIFEST: Any = SimpleNamespace(name="tiny", streams=(STREAM,), extractor="0123", precision="fp32")
SCORE = {"value": 12.3, "low": 10.0, "high": 14.5, "signature": "a|b"}
SCORES = {
    "scores": {"bleu": SCORE, "wer": SCORE | {"low": None, "high": None}},
    "floor": {"sentence": "no", "scores": {"bleu": SCORE | {"value": 1.5}}}, "neighbour": None,
    "controls": {"without face": {"bleu": SCORE | {"value": 2.5}}},
    "worst": {"signer": "Ana"}, "groups": {"signer": {"Ana": {"scores": {"bleu": SCORE | {"value": 3.5}}}}},
    "calibration": {"error": 0.0421, "risk": {"at_90": 0.5}},
}  # fmt: skip


def facts(**given: Any) -> Facts:
    nothing: dict[str, Any] = {
        "corpus": {}, "clips": 0, "signers": 0, "consent": {}, "embedded": False, "language": "", "scores": {},
        "licence": "", "seconds": None, "energy": {}, "processor": "", "gpus": (), "seq2seq": True, "scored": "",
    }  # fmt: skip
    return Facts(**nothing | given)


def test_what_is_not_known_is_said_not_to_be() -> None:
    text = card(MANIFEST, facts())
    for said in ("its name is not stated", "does not state whether the people in it agreed", "Licence of the data: not",
                 "clips: not stated", "signers: not stated", "has not been scored",
                 "Risk against coverage has not been", "Time: not known", "Energy: not measured",
                 "The licence of this model is not stated"):  # fmt: skip
        assert said in text


def test_what_is_known_is_in_the_card_and_in_the_hub_s_header() -> None:
    corpus = {"name": "A corpus", "licence": "CC BY-NC 4.0", "signed": "LSA", "language": "es"}
    text = card(MANIFEST, facts(
        corpus=corpus, clips=40, signers=3, consent={"yes": 39, "": 1}, scores=SCORES, licence="cc-by-nc-4.0",
        seconds=7200.0, energy={"package-0": 3.6e6}, processor="A processor", gpus=("A GPU",), scored="test",
    ))  # fmt: skip
    for said in ("yes: 39 clips, nothing said: 1 clips", "signed: LSA", "written: es",
                 "| bleu | 12.30 | 10.00 to 14.50 |",
                 "| wer (lower is better) | 12.30 | not computed | `a\\|b` |", "constant sentence | 1.50 |",
                 "| control: without face | 2.50 |", "| worst by signer: one of them | 3.50 |", "| error | 0.0421 |",
                 "| risk at 90 | 0.5 |", "7200 s (2.00 h)", "A processor and A GPU", "1.0000 kWh (package-0)",
                 "(the data's own licence also binds: CC BY-NC 4.0)"):  # fmt: skip
        assert said in text, said
    assert "Ana" not in text  # people are not named
    header = ModelCard(text).data
    assert (header.language, header.license, header.library_name) == ("es", "cc-by-nc-4.0", "slt")
    assert [(one.metric_type, one.metric_value, one.dataset_name) for one in header.eval_results or ()] == [
        ("bleu", 12.3, "A corpus")
    ]


@pytest.mark.parametrize("embedded", [True, False])
def test_only_a_model_of_the_embedded_corpus_says_that_nobody_signs(embedded: bool) -> None:
    text = card(MANIFEST, facts(embedded=embedded))
    assert ("nobody is shown" in text) == ("its signs are invented" in text) == embedded
