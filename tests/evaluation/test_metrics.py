"""slt/evaluation/metrics.py: agrees with sacreBLEU and with published outputs to the printed digit."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from slt.config.checks import HOME
from slt.evaluation.metrics import (
    Resamples,
    UnicodeWords,
    bleu,
    bleu_terms,
    chrf,
    compare,
    gloss_wer,
    score,
    sentence_chrf,
)
from slt.evaluation.settings import AS_WRITTEN, Conventions

PUBLISHED = HOME.parent / "shared" / "data" / "evaluation" / "signwriting"
UNI_SIGN = PUBLISHED.parent / "unisign"
needs_published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="published outputs are not on this machine (../shared/data/evaluation)"
)

REFERENCES = ["¿Dónde está la casa?", "Mañana el niño no compra pan.", "¡Qué lindo!", "Ayer mi mamá trabajó mucho."]
HYPOTHESES = ["¿Dónde está el pan?", "Mañana el niño compra pan.", "", "Ayer mi mamá trabajó mucho."]


def corpus(sentences: int) -> tuple[list[str], list[str]]:
    draw = random.Random(0)
    words = ["el", "la", "niño", "casa", "perro", "come", "mira", "compra", "mañana", "no", "¿dónde", "está?", "¡qué"]
    references = [" ".join(draw.choices(words, k=draw.randint(4, 14))) for _ in range(sentences)]
    return [" ".join(w for w in text.split() if draw.random() < 0.8) for text in references], references


@needs_published
@pytest.mark.parametrize("printed", sorted(path.name for path in PUBLISHED.glob("*.eval.json")))
def test_published_systems_score_what_their_authors_printed(printed):
    stem = PUBLISHED / printed.removesuffix(".eval.json")
    hypotheses, references = (Path(f"{stem}.{end}").read_text("utf-8").splitlines() for end in ("hyp", "ref"))
    scores = score(hypotheses, references, bootstrap=0, seed=0)
    for entry in json.loads((PUBLISHED / printed).read_text("utf-8")):
        ours = scores[{"BLEU": "bleu", "chrF2": "chrf"}[entry["name"]]]
        assert f"{ours.value:.1f}" == f"{entry['score']:.1f}"
        assert ours.signature.rsplit("|", 1)[0] == entry["signature"].rsplit("|", 1)[0]  # but for the version


@needs_published
@pytest.mark.parametrize(
    ("pair", "given", "printed"),
    [
        ("csl_daily.dev", {"tokenize": "char", "characters": True}, "25.27 57.54/33.32/20.81/13.88 0.926"),
        ("csl_daily.dev", {"tokenize": "zh", "characters": True}, "25.27 57.54/33.32/20.81/13.88 0.926"),
        ("openasl.dev", {}, "22.38 49.79/26.43/16.97/11.31 0.998"),
    ],
)
def test_published_systems_score_what_their_authors_printed_by_their_own_rules(pair, given, printed):
    hypotheses, references = (
        (UNI_SIGN / f"{pair}.{end}").read_text("utf-8").removesuffix("\n").split("\n") for end in ("hyp", "ref")
    )
    rules = Conventions(**given)
    terms = bleu_terms(hypotheses, references, rules)
    parts = "/".join(f"{each:.2f}" for each in terms.precisions)
    assert f"{terms.score:.2f} {parts} {terms.bp:.3f}" == printed
    if rules.characters:  # as a corpus' file has them, not parted
        glued = ["".join(text.split()) for text in references]
        assert bleu_terms(hypotheses, glued, rules).score == terms.score
        assert bleu(hypotheses, glued) < 1


def test_sacrebleus_own_values_in_three_tokenizations():
    references = [
        ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
        ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
    ]
    hypotheses = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    for tokenizer, value in (("13a", 48.530827), ("none", 49.1919566), ("intl", 43.91623493)):
        assert BLEU(tokenize=tokenizer).corpus_score(hypotheses, references).score == pytest.approx(value, abs=5e-7)
    assert bleu([""] * 3, references[0]) == 0.0


def test_conventions_reach_sacrebleu_and_its_signature():
    hypotheses, references = corpus(50)
    hypotheses = [text.capitalize() for text in hypotheses]
    for name in ("13a", "intl", "zh", "char", "none"):
        for lowercase in (False, True):
            scores = score(hypotheses, references, bootstrap=0, seed=0,
                           conventions=Conventions(tokenize=name, lowercase=lowercase))  # fmt: skip
            metrics = {"bleu": BLEU(tokenize=name, lowercase=lowercase), "chrf": CHRF(lowercase=lowercase)}
            for own, metric in metrics.items():
                theirs = metric.corpus_score(hypotheses, [references])
                assert scores[own].value == pytest.approx(theirs.score, abs=1e-9), (name, own)
                assert scores[own].signature == str(metric.get_signature())
            assert f"|case:{'lc' if lowercase else 'mixed'}|" in scores["wer"].signature


def test_blanks_between_characters_change_no_score_by_characters():
    rules = Conventions(tokenize="char", characters=True)
    references = ["他今年50岁。", "今天星期几?", "我用手机 ok"]
    hypotheses = ["她今年50岁。", "今天星期五?", "我用手机 no"]
    parted = [" ".join(text.replace(" ", "")) for text in hypotheses]
    options = {"conventions": rules, "bootstrap": 20, "seed": 1}
    one, other = (score(texts, references, **options) for texts in (hypotheses, parted))
    assert {name: each for name, each in one.items() if rules.signature in each.signature} == {
        name: each for name, each in other.items() if rules.signature in each.signature
    }
    assert [name for name in one if rules.signature not in one[name].signature] == ["bleu_13a", "bleu_intl"]
    assert one["wer"].value == one["cer"].value == pytest.approx(100 * 4 / (7 + 6 + 6))
    assert one["bleu"].value > 50 > one["bleu_13a"].value
    assert one["rouge_l"].value > 50


def test_a_final_stop_is_taken_from_both_sides_and_the_signature_says_so():
    rules = Conventions(final_stop="strip")
    scores = score(["el sol sale hoy ."], ["el sol sale hoy"], bootstrap=0, seed=0, conventions=rules)
    assert (round(scores["bleu"].value), round(scores["bleu_13a"].value)) == (100, 67)
    assert scores["bleu"].signature.endswith("|stop:stripped")
    assert scores["wer"].signature.endswith("|stop:stripped")
    assert scores["bleu4"].signature.endswith("|stop:stripped|order:4")
    assert bleu(["a b c d."], ["a b c d"], rules) == pytest.approx(100)
    assert chrf(["a b c d."], ["a b c d"], rules) == pytest.approx(100)


def test_without_conventions_there_is_no_second_bleu_and_nothing_in_the_signature():
    scores = score(HYPOTHESES, REFERENCES, bootstrap=0, seed=0)
    assert scores == score(HYPOTHESES, REFERENCES, bootstrap=0, seed=0, conventions=AS_WRITTEN)
    assert "bleu_13a" not in scores
    lower = score(HYPOTHESES, REFERENCES, bootstrap=20, seed=0, conventions=Conventions(lowercase=True))
    assert lower["bleu_13a"] == score(HYPOTHESES, REFERENCES, bootstrap=20, seed=0)["bleu"]


def test_systems_are_compared_by_the_conventions_and_the_score_asked_for():
    systems = {"a": [["Uno dos tres cuatro .", "no"]], "b": [["uno dos tres cinco", "no"]]}
    references = ["uno dos tres cuatro", "no"]
    rules = Conventions(lowercase=True, final_stop="strip")
    for metric, alone in (("bleu", bleu), ("chrf", chrf)):
        options = {"baseline": "b", "bootstrap": 20, "seed": 1, "metric": metric}
        found = compare(systems, references, conventions=rules, **options)["a"]
        assert found.value == pytest.approx(alone(*systems["a"], references, rules) - alone(*systems["b"], references))
        assert found.value > compare(systems, references, **options)["a"].value


def test_every_sacrebleu_score_is_sacrebleus():
    hypotheses, references = corpus(50)
    scores = score(hypotheses, references, bootstrap=0, seed=0)
    metrics = {"bleu": BLEU(), "bleu_intl": BLEU(tokenize="intl"), "chrf": CHRF(), "chrf++": CHRF(word_order=2)}
    metrics |= {"ter": TER()} | {f"bleu{n}": BLEU(max_ngram_order=n) for n in (1, 2, 3, 4)}
    for name, metric in metrics.items():
        assert scores[name].value == pytest.approx(metric.corpus_score(hypotheses, [references]).score, abs=1e-9), name
        assert scores[name].signature.startswith(str(metric.get_signature()))
    assert scores["bleu"].value == scores["bleu4"].value == bleu(hypotheses, references)
    assert scores["chrf"].value == chrf(hypotheses, references)


def test_intl_parts_the_opening_marks_and_13a_does_not():
    scores = score(["dónde está la casa?"], ["¿dónde está la casa?"], bootstrap=0, seed=0)
    assert scores["bleu1"].value == pytest.approx(80.0)  # ¿dónde is another word: 4 of 5
    assert scores["bleu_intl"].value > scores["bleu"].value


def test_error_rates_are_over_the_corpus_and_may_pass_100():
    scores = score(["a b c d", "uno dos"], ["a", "uno dos"], bootstrap=0, seed=0)
    assert scores["wer"].value == pytest.approx(100 * 3 / 3)
    assert scores["cer"].value == pytest.approx(100 * 6 / 8)
    assert score(["a b c"], ["x"], bootstrap=0, seed=0)["cer"].value == pytest.approx(500)


def test_error_rates_agree_with_jiwer():
    jiwer = pytest.importorskip("jiwer", reason="jiwer is not installed")
    scores = score(HYPOTHESES, REFERENCES, bootstrap=0, seed=0)
    assert scores["wer"].value == pytest.approx(100 * jiwer.wer(REFERENCES, HYPOTHESES))
    assert scores["cer"].value == pytest.approx(100 * jiwer.cer(REFERENCES, HYPOTHESES))


def test_rouge_counts_spanish_words_whole():
    assert UnicodeWords().tokenize("¿Man\u0303ana, niño?") == ["mañana", "niño"]
    scores = score(["el niño come", "nada"], ["el niño no come pan", "todo"], bootstrap=0, seed=0)
    assert scores["rouge_l"].value == pytest.approx(100 * (2 * 1 * 0.6 / 1.6) / 2)


def test_an_interval_is_repeatable_and_holds_the_value():
    hypotheses, references = corpus(60)
    one, two = (score(hypotheses, references, bootstrap=200, seed=7) for _ in range(2))
    assert one == two
    other = score(hypotheses, references, bootstrap=200, seed=8)
    assert all((one[name].low, one[name].high) != (other[name].low, other[name].high) for name in one)
    assert all(s.low < s.value < s.high for s in one.values())


def test_the_interval_is_sacrebleus_own_bootstrap():
    hypotheses, references = corpus(100)
    theirs = BLEU().corpus_score(hypotheses, [references], n_bootstrap=500)
    ours = score(hypotheses, references, bootstrap=500, seed=0)["bleu"]
    assert (ours.high - ours.low) / 2 == pytest.approx(theirs._ci, rel=0.15)


def test_the_interval_is_the_middle_95_percent_of_the_resamples_of_its_seed():
    hypotheses, references = ["a"] * 30 + ["b"] * 10, ["a"] * 40
    found = score(hypotheses, references, bootstrap=300, seed=5, only=("wer",))["wer"]
    draw = np.random.default_rng(5)
    rates = sorted(100 * np.mean(draw.integers(40, size=40) >= 30) for _ in range(300))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(rates, (0.025, 0.975))))
    assert found.signature.endswith("|bs:clips:300|seed:5")


def test_all_metrics_see_the_same_resamples():
    references, hypotheses = list("abcdefgh"), list("abcdxxxx")  # one letter a word: CER, WER and TER count alike
    scores = score(hypotheses, references, bootstrap=50, seed=0)
    assert len({(scores[n].value, scores[n].low, scores[n].high) for n in ("cer", "wer", "ter")}) == 1
    assert scores["bleu4"].low == scores["bleu"].low
    assert scores["bleu4"].high == scores["bleu"].high


def test_signers_are_resampled_before_their_clips_and_the_signature_says_so():
    signers = ["ana"] * 4 + ["eva"] * 2 + ["luz"] * 6
    drawn = Resamples(12, 400, 1, signers).drawn
    whole = np.add.reduceat(drawn, [0, 4, 6], axis=1) / [4, 2, 6]  # how often each signer was drawn
    assert (whole.sum(1) == 3).all()
    assert set(whole.ravel()) == {0, 1, 2, 3}
    assert drawn.mean(0) == pytest.approx(np.ones(12), abs=0.2)
    assert drawn.max() > 1
    hypotheses, references = corpus(12)
    scores = score(hypotheses, references, bootstrap=50, seed=3, signers=signers)
    assert all(each.signature.endswith("|bs:signers,clips:50|seed:3") for each in scores.values())
    for unnamed in (None, ["ana"] * 12, [*signers[:-1], ""]):
        scores = score(hypotheses, references, bootstrap=50, seed=3, signers=unnamed)
        assert scores["bleu"].signature.endswith("|bs:clips:50|seed:3")
    assert "bs:" not in score(hypotheses, references, bootstrap=0, seed=3, signers=signers)["bleu"].signature


def test_clips_of_few_signers_that_differ_have_wider_intervals():
    references = [f"uno dos tres cuatro {i} cinco" for i in range(40)]
    hypotheses = [text if i < 20 else f"uno dos otra {i}" for i, text in enumerate(references)]
    same = {"bootstrap": 200, "seed": 1, "only": ("bleu",)}
    alone = score(hypotheses, references, **same)["bleu"]
    by_signer = score(hypotheses, references, signers=["ana"] * 20 + ["eva"] * 20, **same)["bleu"]
    assert by_signer.value == alone.value
    assert by_signer.high - by_signer.low > 2 * (alone.high - alone.low)
    systems = {"a": [hypotheses], "b": [references]}
    found = [compare(systems, references, baseline="a", bootstrap=200, seed=1, signers=signers)["b"]
             for signers in (None, ["ana"] * 20 + ["eva"] * 20)]  # fmt: skip
    assert found[1].high - found[1].low > 2 * (found[0].high - found[0].low)


def test_gloss_wer_is_over_clips_with_glosses_on_the_resamples_of_the_sentences():
    found = gloss_wer(["A B", "C", "A"], ["A C D", "", "A"], bootstrap=20, seed=1)
    assert found.value == pytest.approx(100 * 2 / 4)
    words = score(["A B", "x", "A"], ["A C D", "x", "A"], bootstrap=20, seed=1, only=("wer",))["wer"]
    drawn = Resamples(3, 20, 1, None).drawn
    assert found.high == pytest.approx(
        np.percentile(100 * 2 * drawn[:, 0] / np.maximum(3 * drawn[:, 0] + drawn[:, 2], 1), 97.5)
    )
    assert words.value != found.value
    with pytest.raises(ValueError, match="glosses"):
        gloss_wer(["A"], [" "], bootstrap=0, seed=1)


def test_sentences_that_end_in_a_parted_period_are_scored_without_a_word(caplog):
    texts = ["uno dos tres cuatro ."] * 120
    score(texts, texts, bootstrap=2, seed=0)
    bleu(texts, texts)
    compare({"a": [texts], "b": [texts]}, texts, baseline="a", bootstrap=2, seed=0)
    assert caplog.records == []


def test_perfect_and_empty_output():
    perfect = score(REFERENCES, REFERENCES, bootstrap=20, seed=0)
    assert {n: round(s.value) for n, s in perfect.items()} == {
        n: 0 if n in ("ter", "cer", "wer") else 100 for n in perfect
    }
    empty = score([""] * 4, REFERENCES, bootstrap=20, seed=0)
    assert {n: round(s.value) for n, s in empty.items()} == {n: 100 if n in ("ter", "cer", "wer") else 0 for n in empty}
    assert sentence_chrf("", "casa") == 0
    assert sentence_chrf("casa", "casa") == pytest.approx(100)


def test_what_cannot_be_scored_is_said():
    for hypotheses, references, message in (
        ([], [], "got none"),
        ("casa", "casa", "single string"),
        (["a"], ["a", "b"], "1 hypotheses and 2 references"),
        (["a", "b"], ["a", " "], "reference 1"),
    ):
        with pytest.raises(ValueError, match=message):
            score(hypotheses, references, bootstrap=0, seed=0)
    with pytest.raises(ValueError, match="bootstrap"):
        score(["a"], ["a"], bootstrap=-1, seed=0)
