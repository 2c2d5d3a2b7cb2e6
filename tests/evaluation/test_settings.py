"""Conventions: how sentences are prepared, and what a dataset's `scoring` may say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from slt.evaluation.settings import AS_WRITTEN, Conventions


@pytest.mark.parametrize(
    ("text", "stripped"),
    [("el sol .", "el sol"), ("el sol.", "el sol"), ("今天。", "今天"), ("el sol . ", "el sol"), ("el sol", "el sol"),
     ("espera...", "espera..."), ("espera . . .", "espera . . ."), (".", "."), ("¿qué?", "¿qué?"), ("1.5", "1.5"),
     ("", "")],
)  # fmt: skip
def test_only_a_final_full_stop_is_taken_away(text: str, stripped: str) -> None:
    assert Conventions(final_stop="strip").prepare([text]) == [stripped]
    assert AS_WRITTEN.prepare([text]) == [text]


def test_characters_stand_alone_however_they_were_written() -> None:
    rules = Conventions(characters=True)
    assert rules.prepare(["他 今  天", "他今天", "5 0 0 元", "500元", "man\u0303ana"]) == [
        "他 今 天", "他 今 天", "5 0 0 元", "5 0 0 元", "m a ñ a n a"
    ]  # fmt: skip


def test_everything_is_done_together_and_said() -> None:
    rules = Conventions(lowercase=True, final_stop="strip", characters=True)
    assert rules.prepare(["Él va ."]) == ["é l v a"]
    assert (rules.signature, AS_WRITTEN.signature) == ("|stop:stripped|by:characters", "")


def test_what_a_dataset_leaves_out_is_the_default() -> None:
    assert Conventions.of(None) == Conventions.of({}) == Conventions.of({"lowercase": None}) == AS_WRITTEN
    assert Conventions.of({"tokenize": "zh"}) == Conventions(tokenize="zh")


@pytest.mark.parametrize(
    ("given", "message"),
    [({"tokenise": "zh"}, "scoring.tokenise: .*did you mean tokenize"), ({"tokenize": "13"}, "13a"),
     ({"lowercase": "no"}, "true or false"), ({"final_stop": False}, "keep, strip"), ("zh", "expected keys")],
)  # fmt: skip
def test_what_is_no_convention_is_refused(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Conventions.of(given)  # type: ignore[arg-type]


def test_the_settings_bring_no_torch() -> None:
    code = "import sys, slt.evaluation.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
