"""The model card of an exported folder: what is known of data, people, scores, limits and cost, and what is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from slt.corpora.provenance import STATED
from slt.evaluation.metrics import LOWER_IS_BETTER
from slt.models.signature import Manifest

SHOWN = ("bleu", "bleu4", "bleu_13a", "chrf", "rouge_l", "wer", "gloss_wer")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a card is told beside the manifest; nothing of it is guessed, and what is empty is said not to be stated.

    Attributes:
        corpus: `name`, `language`, `licence`, `consent`, `url`, ... as the corpus' own files state them.
        clips, signers: of training, numbers; 0 = the corpus does not say who signs.
        consent: what the column `consent` says -> clips; empty = there is no such column.
        embedded: whether the corpus is the suite's own, drawn by code, in which nobody signs.
        language: of the sentences, as the decoder is told it; "" = not told.
        scores: `scores.json` of the run; empty = it has not been scored.
        licence: of the model, by its name on the hub; "" = not stated.
        seconds: that training took; None = not known.
        energy: source -> joules that training took; empty = not measured.
        processor, gpus: that it ran on.
        seq2seq: whether the decoder is a sequence-to-sequence model, and not a causal one.
        scored: the split that `scores` are of; "" = not known.
    """

    corpus: Mapping[str, Any]
    clips: int
    signers: int
    consent: Mapping[str, int]
    embedded: bool
    language: str
    scores: Mapping[str, Any]
    licence: str
    seconds: float | None
    energy: Mapping[str, float]
    processor: str
    gpus: tuple[str, ...]
    seq2seq: bool
    scored: str


def card(manifest: Manifest, facts: Facts) -> str:
    """Return the card as Markdown, with the YAML header that the Hugging Face hub reads."""
    about = Environment(
        loader=PackageLoader("slt.exporting", "."), autoescape=False, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    scores = facts.scores.get("scores", {})
    return about.get_template("card.md").render(
        header=_header(manifest, facts, scores), manifest=manifest, facts=facts,
        corpus=dict.fromkeys(STATED, "") | dict(facts.corpus),
        shown={name: scores[name] for name in SHOWN if name in scores}, lower=LOWER_IS_BETTER,
        risk=_risk(facts.scores.get("calibration")),
    )  # fmt: skip


def _header(manifest: Manifest, facts: Facts, scores: Mapping[str, Any]) -> str:
    name = str(facts.corpus.get("name") or "not stated")
    results = [
        EvalResult(
            task_type="translation", dataset_type="sign-language", dataset_name=name, metric_type=metric,
            dataset_split=facts.scored or None, metric_value=round(float(scores[metric]["value"]), 2),
        )
        for metric in ("bleu", "chrf") if metric in scores
    ]  # fmt: skip
    language = str(facts.language or facts.corpus.get("language") or "")
    return ModelCardData(
        language=language.partition("_")[0] or None, license=facts.licence or None, library_name="slt",
        tags=["sign-language-translation", "onnx", "safetensors"], pipeline_tag=None,
        model_name=manifest.name if results else None, eval_results=results or None,
    ).to_yaml()  # fmt: skip


def _risk(calibration: Any) -> list[tuple[str, str]]:
    """Numbers of `calibration` in scores.json as rows, however deep they lie: another room says what is in it."""
    rows: list[tuple[str, str]] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            for key, part in value.items():
                walk(part, f"{path} {key}".strip())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            rows.append((path.replace("_", " "), f"{value:.3g}"))

    walk(calibration, "")
    return rows[:40]
