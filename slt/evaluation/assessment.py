"""The whole examination of a trained model on one split: translations, scores, floors, controls, leaks, report.

Shape letters: T frames.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slt.corpora.folder import LsaTMultiStream
from slt.drawing.strip import filmstrip
from slt.evaluation.breakdown import KINDS, Groups, Variety, by_group, gloss_scores, worst
from slt.evaluation.controls import Frozen, Swapped
from slt.evaluation.floors import Floor, constant_floor
from slt.evaluation.leaks import Leaks, leak_report
from slt.evaluation.metrics import Score, score
from slt.evaluation.neighbour import Neighbour, neighbour_floor
from slt.evaluation.prediction import Prediction, headline, write_predictions, write_scores
from slt.evaluation.report import write_report
from slt.evaluation.translation import translate
from slt.models import Translator
from slt.training import processes
from slt.training.batches import evaluation_batches
from slt.training.dashboard import Dashboard
from slt.training.lineage import predictions

log = logging.getLogger(__name__)

ALL, WITHOUT = "all streams", "without "


@dataclass
class Assessment:
    """What a model is worth on a split.

    Attributes:
        split: its name.
        predictions: of its clips, by id.
        scores: of the model.
        loss: nats a token.
        floor: the best constant sentence.
        neighbour: the sentence of the nearest training clip; None where it was not looked for.
        controls: `without NAME`, `shuffled`, `frozen` -> the model's scores where it does not see the clip.
        groups: scores by signer, length and share of frames seen.
        variety: how alike the translations are.
        leaks: what the split shares with train.
    """

    split: str
    predictions: list[Prediction]
    scores: dict[str, Score]
    loss: float
    floor: Floor
    neighbour: Neighbour | None
    controls: dict[str, dict[str, Score]]
    groups: Groups
    variety: Variety
    leaks: Leaks

    @property
    def blanked(self) -> dict[str, dict[str, Score]]:
        """The controls of streams taken as not seen, by stream."""
        return {name.removeprefix(WITHOUT): each for name, each in self.controls.items() if name.startswith(WITHOUT)}

    def summary(self, examples: int) -> str:
        """What the terminal shows: scores, controls, and `examples` translations beside their references."""
        lines = [f"{self.split}: {len(self.predictions)} clips, loss {self.loss:.3f} nats a token"]
        width = max(10, *map(len, self.scores))
        lines += [f"  {name:{width}s} {value}" for name, value in self.scores.items()]
        lines += [f"  {self.variety}"]
        lines += [
            f"  BLEU of the best constant sentence: {self.floor.scores['bleu'].value:.2f}  ({self.floor.sentence})"
        ]
        if self.neighbour is not None:
            lines += [f"  BLEU of {self.neighbour}: {self.neighbour.scores['bleu'].value:.2f}"]
        lines += [f"  BLEU {name}: {scores['bleu'].value:.2f}" for name, scores in self.controls.items()]
        for kind, groups in self.groups.items():
            name = worst(groups)
            lines += [
                f"  BLEU, worst by {KINDS[kind]}: {groups[name].scores['bleu']}  ({name}, {groups[name].clips} clips)"
            ]
        shown = np.linspace(0, len(self.predictions) - 1, min(examples, len(self.predictions))).astype(int)
        for place in shown:
            p = self.predictions[int(place)]
            lines += [f"  {p.id}", f"    reference:   {p.reference}", f"    translation: {p.hypothesis}"]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What is found out of a model beside its sentences; the values are those of `evaluation` in conf/.

    `bootstrap` resamples with `seed`; `gloss_beam` is None for the best path alone, `neighbour` for no such floor.
    """

    bootstrap: int
    gloss_beam: int | None
    blanked: bool
    shuffled: bool
    frozen: bool
    neighbour: int | None
    report_strips: int
    seed: int


def assess(
    translator: Translator,
    clips: LsaTMultiStream,
    train: LsaTMultiStream,
    tokenizer: Any,
    tokenize: Any,
    *,
    device: torch.device,
    precision: str,
    batch_size: int | None,
    batch_frames: int | None,
    num_workers: int,
    num_beams: int,
    length_penalty: float,
    nbest: int,
    max_tokens: int,
    bootstrap: int,
    gloss_beam: int | None,
    blanked: bool,
    shuffled: bool,
    frozen: bool,
    neighbour: int | None,
    seed: int,
    drop: Collection[str],
    glosses: Sequence[str],
) -> Assessment | None:
    """Translates and scores a split.

    Several processes translate their clips each; the first scores all the sentences, the others get None.

    Args:
        translator: trained.
        clips: the split to score.
        train: the training split, for the floors and the leak report.
        tokenizer, tokenize: ids -> text, and text -> ids for batches.
        drop: streams taken as not seen throughout.
        glosses: the inventory of the model's gloss head.
        device, precision, batch_size, batch_frames, num_workers, num_beams, length_penalty, nbest, max_tokens,
            bootstrap, gloss_beam, blanked, shuffled, frozen, neighbour, seed: as in conf/eval.yaml.
    """

    def run(shown: Any, label: str, streams: Collection[str] = drop, width: int | None = None) -> Any:
        batches = evaluation_batches(
            shown, tokenize, batch_size=batch_size, batch_frames=batch_frames, num_workers=num_workers
        )
        return translate(
            translator, batches, tokenizer, device=device, precision=precision, num_beams=num_beams,
            length_penalty=length_penalty, nbest=nbest, max_tokens=max_tokens, drop=streams, glosses=glosses,
            gloss_beam=width, progress=label,
        )  # fmt: skip

    said, loss = run(clips, clips.split, width=gloss_beam)
    names = [name for name in clips.streams if name not in drop]
    without = {ALL: tuple(clips.streams), **({name: (name, *drop) for name in names} if len(names) > 1 else {})}
    unlike = {f"{WITHOUT}{name}": run(clips, f"{WITHOUT}{name}", gone)[0] for name, gone in without.items() if blanked}
    if shuffled and len(clips) > 1:
        unlike["shuffled"] = run(Swapped(clips), "shuffled")[0]
    if frozen:
        unlike["frozen"] = run(Frozen(clips), "frozen")[0]
    if not processes.first():
        return None
    signer = dict(zip(clips.ids, clips.columns["signer"], strict=True)) if "signer" in clips.columns else {}
    predictions = [replace(p, signer=signer.get(p.id, "")) for p in said]
    same: dict[str, Any] = {"bootstrap": bootstrap, "seed": seed, "signers": [p.signer for p in predictions]}
    return Assessment(
        clips.split, predictions, _scored(predictions, **same), loss,
        floor=constant_floor(list(train.texts), [p.reference for p in predictions], **same),
        neighbour=None if neighbour is None else neighbour_floor(clips, train, most=neighbour, **same),
        controls={name: _scored(each, **same | {"bootstrap": 0}) for name, each in unlike.items()},
        groups=by_group(predictions, bootstrap=bootstrap, seed=seed), variety=Variety.of(predictions),
        leaks=leak_report(_rows(clips), _rows(train), examples=5),
    )  # fmt: skip


def _scored(predictions: list[Prediction], **same: Any) -> dict[str, Score]:
    scores = score([p.hypothesis for p in predictions], [p.reference for p in predictions], **same)
    return scores | gloss_scores(predictions, **same)


def _rows(clips: LsaTMultiStream) -> list[dict[str, str]]:
    known = {key: values for key, values in clips.columns.items() if key in ("signer", "film")}
    return [{"text": clips.texts[i], **{key: values[i] for key, values in known.items()}} for i in range(len(clips))]


def strips(clips: LsaTMultiStream, predictions: list[Prediction], most: int, columns: int) -> dict[str, Any]:
    """Clip id -> filmstrip (H, W, 3) uint8 of `most` clips: the worst, the best, and what lies evenly between."""
    order = sorted(range(len(predictions)), key=lambda i: predictions[i].score)
    chosen = {order[int(i)] for i in np.linspace(0, len(order) - 1, min(most, len(order)))} if most else set()
    return draw_clips(clips, [predictions[i].id for i in sorted(chosen)], columns=columns)


def draw_clips(clips: LsaTMultiStream, names: Sequence[str], *, columns: int) -> dict[str, Any]:
    """Clip id -> filmstrip (H, W, 3) uint8 of the named clips."""
    place = {name: i for i, name in enumerate(clips.ids)}
    pictures = {}
    for name in names:
        sample = clips[place[name]]
        arrays = {name: x.numpy() for name, x in sample.streams.items()}
        pictures[sample.id] = filmstrip(arrays, {k: m.numpy() for k, m in sample.seen.items()}, columns=columns)
    return pictures


def write_assessment(
    folder: Path,
    assessment: Assessment,
    *,
    title: str,
    pictures: Mapping[str, Any],
    curves: Mapping[str, list[tuple[int, float]]],
    config_text: str,
    about: Mapping[str, Any],
) -> None:
    """Writes scores.json, predictions.tsv and report.html into `folder`.

    Args:
        folder: of the run.
        assessment: what to write.
        title: of the report.
        pictures: clip id -> filmstrip.
        curves: metric -> [(step, value)] of the training.
        config_text: resolved configuration as YAML.
        about: plain values to keep with the scores: checkpoint, its step, corpus fingerprint.
    """
    a = assessment
    # `blanked` is a part of `controls`, under the name that readers of scores.json know.
    write_scores(
        folder / "scores.json", a.scores, loss=a.loss, floor=a.floor, neighbour=a.neighbour, controls=a.controls,
        blanked=a.blanked, groups=a.groups, worst={kind: worst(each) for kind, each in a.groups.items()},
        variety=a.variety, leaks=a.leaks, **about,
    )  # fmt: skip
    write_predictions(folder / "predictions.tsv", a.predictions)
    floors = {f"constant sentence: {a.floor.sentence}": a.floor.scores}
    floors |= {} if a.neighbour is None else {str(a.neighbour): a.neighbour.scores}
    facts = {"split": a.split, "clips": str(len(a.predictions)), "loss": f"{a.loss:.4f} nats a token"}
    facts |= {"translations": str(a.variety)}
    write_report(
        folder / "report.html", title=title, facts=facts | {key: str(value) for key, value in about.items()},
        scores=a.scores, floors=floors | a.controls, groups=a.groups, leaks=a.leaks, predictions=a.predictions,
        strips=pictures, max_strips=len(pictures), curves=curves, config_text=config_text, lang="es",
    )  # fmt: skip


def examine(
    translator: Translator,
    clips: LsaTMultiStream,
    train: LsaTMultiStream,
    tokenizer: Any,
    tokenize: Any,
    *,
    folder: Path,
    curves: Mapping[str, list[tuple[int, float]]],
    config_text: str,
    about: Mapping[str, Any],
    dashboard: Dashboard,
    report_strips: int,
    **options: Any,
) -> Assessment | None:
    """Assesses, writes everything into `folder`, tells the dashboard and prints the summary.

    Args:
        report_strips: filmstrips in the report.
        options: the further arguments of `assess`.

    Returns:
        What was found; None in all processes but the first, which writes it.
    """
    found = assess(translator, clips, train, tokenizer, tokenize, **options)
    if found is None:
        return None
    pictures = strips(clips, found.predictions, report_strips, columns=12)
    title = f"Translations of {clips.split}"
    write_assessment(folder, found, title=title, pictures=pictures, curves=curves, config_text=config_text, about=about)
    dashboard.translations(f"{clips.split}/translations", about["step"], found.predictions, pictures)
    written = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    dashboard.summary({f"{clips.split}/{name}": value for name, value in headline(written).items()})
    dashboard.makes(predictions(folder, split=clips.split))
    print(found.summary(examples=5))
    print(f"report: {folder / 'report.html'}")
    return found
