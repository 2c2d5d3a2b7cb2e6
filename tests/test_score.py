"""`slt.score` through its real entry point: any two text files, by the rules of a corpus, beside a baseline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from slt.config.checks import HOME
from slt.evaluation.metrics import bleu, compare, score
from slt.evaluation.settings import Conventions

REFERENCES = ["el niño come pan .", "la niña no ve el sol .", "¿qué mira el perro?", "今 天 星 期 五 。"]
HYPOTHESES = ["el niño come pan", "La niña no ve el mar .", "", "今天星期几。"]
PUBLISHED = HOME.parent / "shared" / "data" / "evaluation"
needs_published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="published outputs are not on this machine (../shared/data/evaluation)"
)


@pytest.fixture
def scored(entry: Any) -> Callable[..., Any]:
    """Score HYPOTHESES, or other lines of a file, in the test's own folder: what ran, and its scores.json."""

    def run(*overrides: str, **lines: str | list[str] | bytes) -> tuple[Any, dict[str, Any]]:
        for name, content in {"ref": REFERENCES, "hyp": HYPOTHESES, **lines}.items():
            text = "".join(f"{line}\n" for line in content) if isinstance(content, list) else content
            Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
        ran = entry("score", "hypotheses=hyp", "references=ref", "bootstrap=20", *overrides)
        path = ran.folder / "scores.json"
        return ran, json.loads(path.read_text("utf-8")) if path.is_file() else {}

    return run


def test_two_files_are_scored_written_and_printed_with_signatures(scored: Any) -> None:
    ran, content = scored()
    assert (ran.status, ran.err, ran.named_folder) == (0, "", True)
    expected = score(HYPOTHESES, REFERENCES, bootstrap=20, seed=1)
    assert content["scores"] == {name: vars(each) for name, each in expected.items()}
    for name, each in expected.items():
        assert any(line.split()[0] == name and line.endswith(f"  {each.signature}") and f" {each} " in line
                   for line in ran.out.splitlines() if line.startswith("  "))  # fmt: skip
    assert content["files"] == {"references": "ref", "hypotheses": "hyp"}
    parts = "/".join(f"{value:.2f}" for value in content["precisions"])
    assert f"n-grams {parts}, brevity {content['brevity']:.3f}" in ran.out


def test_scores_that_something_else_computed_get_their_interval(scored: Any, entry: Any) -> None:
    Path("comet.txt").write_text("".join(f"{value}\n" for value in (0.5, 0.75, 1.0, 0.25)))
    ran, content = scored("+sentence_scores.comet=comet.txt")
    assert ran.status == 0, ran.err
    found = content["scores"]["comet"]
    assert found["value"] == 0.625
    assert 0.25 <= found["low"] <= 0.625 <= found["high"] <= 1.0
    assert found["signature"].startswith("avg:sentence|file:comet.txt|bs:clips:20")
    given = ("score", "hypotheses=hyp", "references=ref", "+sentence_scores.comet=comet.txt")
    Path("comet.txt").write_text("0.5\n0.75\nhalf\n0.25\n")
    assert "comet.txt, line 3: a number expected, came 'half'" in entry(*given).err
    Path("comet.txt").write_text("0.5\n")
    assert "comet.txt has 1 lines for 4 sentences" in entry(*given).err


@pytest.mark.parametrize(
    ("overrides", "rules"),
    [
        (["scoring.tokenize=none"], {"tokenize": "none"}),
        (["scoring.tokenize=zh", "scoring.characters=true"], {"tokenize": "zh", "characters": True}),
        (["scoring.final_stop=strip", "scoring.lowercase=true"], {"final_stop": "strip", "lowercase": True}),
    ],
)
def test_conventions_are_given_on_the_command_line(scored: Any, overrides: list[str], rules: dict[str, Any]) -> None:
    ran, content = scored(*overrides)
    expected = bleu(HYPOTHESES, REFERENCES, Conventions(**rules))
    assert content["scores"]["bleu"]["value"] == expected != bleu(HYPOTHESES, REFERENCES)
    assert content["scores"]["bleu_13a"]["value"] == bleu(HYPOTHESES, REFERENCES)
    assert content["conventions"] == vars(Conventions(**rules))
    assert "bleu_13a" in ran.out


def test_a_dataset_gives_its_conventions_and_nothing_else_and_a_key_beside_it_wins(scored: Any) -> None:
    root, said = "dataset=lsa_t", "+dataset.scoring={tokenize:none,lowercase:true}"
    assert scored(root)[1]["conventions"] == vars(Conventions())
    ran, content = scored(root, said, "scoring.tokenize=char")
    assert content["conventions"] == vars(Conventions(tokenize="char", lowercase=True))
    assert OmegaConf.load(ran.folder / "config.yaml").dataset == {"scoring": {"tokenize": "none", "lowercase": True}}
    ran, _ = scored(root, "+dataset.scoring={tokenise:none}")
    assert "did you mean tokenize?" in ran.err


def test_a_baseline_is_tested_by_the_paired_bootstrap(scored: Any) -> None:
    other = ["el niño", "la niña no ve", "¿qué?", "今天"]
    ran, content = scored("baseline=base", "scoring.lowercase=true", base=other)
    options: dict[str, Any] = {"bootstrap": 20, "seed": 1, "conventions": Conventions(lowercase=True)}
    for name in ("bleu", "chrf"):
        systems = {"a": [HYPOTHESES], "b": [other]}
        expected = compare(systems, REFERENCES, baseline="b", metric=name, **options)["a"]
        assert content["differences"][name] == vars(expected)
        assert f"{expected.value:+.2f} [{expected.low:+.2f}, {expected.high:+.2f}], p {expected.p:.3f}" in ran.out
    assert content["baseline"]["bleu"]["value"] == bleu(other, REFERENCES, Conventions(lowercase=True))
    ran, _ = scored("baseline=base", "bootstrap=0", base=other)
    assert "no resamples to test baseline with" in ran.err


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"hyp": ["a", "b"]}, "hyp has 2 lines, ref has 4"),
        ({"hyp": b""}, "hyp has 0 lines, ref has 4"),
        ({"hyp": [*HYPOTHESES, ""]}, "hyp has 5 lines, ref has 4"),
        ({"ref": ["a", " ", "b", ""]}, "ref, line 2: the reference is empty (2 such lines)"),
        ({"ref": b"", "hyp": b""}, "ref: expected sentences"),
        ({"hyp": b"a\nb\xff\nc\nd\n"}, "hyp: expected utf-8, byte 3"),
    ],
)
def test_files_that_do_not_fit_are_named(scored: Any, lines: dict[str, Any], message: str) -> None:
    ran, content = scored(**lines)
    assert (ran.status, content) == (1, {})
    assert ran.err.startswith("error: ")
    assert message in ran.err
    assert "Traceback" not in ran.err


def test_a_file_that_is_not_there_is_named(entry: Any) -> None:
    ran = entry("score", "hypotheses=nowhere", "references=nowhere")
    assert (ran.status, "nowhere: no such file" in ran.err) == (1, True)


def test_lines_end_at_line_feeds_alone(scored: Any) -> None:
    as_is = scored()[1]["scores"]
    plain = {name: "\n".join(lines).encode() for name, lines in (("ref", REFERENCES), ("hyp", HYPOTHESES))}
    windows = {name: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") for name, text in plain.items()}
    assert scored(**plain)[1]["scores"] == scored(**windows)[1]["scores"] == as_is
    assert scored(ref=["a\u2028b c d e"], hyp=["a\u2028b c d e"])[1]["scores"]["bleu"]["value"] == pytest.approx(100)


@needs_published
@pytest.mark.parametrize(
    ("pair", "overrides", "printed"),
    [
        ("csl_daily.dev", ["scoring.tokenize=char", "scoring.characters=true"],
         "n-grams 57.54/33.32/20.81/13.88, brevity 0.926"),
        ("openasl.dev", [], "n-grams 49.79/26.43/16.97/11.31, brevity 0.998"),
    ],
)  # fmt: skip
def test_published_outputs_print_what_their_authors_did(
    entry: Any, pair: str, overrides: list[str], printed: str
) -> None:
    hypotheses, references = (PUBLISHED / "unisign" / f"{pair}.{end}" for end in ("hyp", "ref"))
    ran = entry("score", f"hypotheses={hypotheses}", f"references={references}", "bootstrap=0", *overrides)
    assert f"  bleu      {'25.27' if 'csl' in pair else '22.38'} " in ran.out
    assert printed in ran.out
