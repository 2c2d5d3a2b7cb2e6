"""What a trained model is worth on one split: translations, scores, floors, controls, leaks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slt.corpora.clips import Clips
from slt.evaluation.breakdown import KINDS, Groups, Variety, by_group, scored, worst
from slt.evaluation.calibration import FOREIGN, NOBODY, STILL, Calibration, calibration
from slt.evaluation.controls import Foreign, Frozen, Swapped
from slt.evaluation.floors import ConstantBaseline, constant_floor
from slt.evaluation.leaks import Leaks, leak_report
from slt.evaluation.metrics import Score
from slt.evaluation.neighbour import Neighbour, neighbour_floor
from slt.evaluation.prediction import Prediction, spread
from slt.evaluation.recognition import Language
from slt.evaluation.settings import Conventions, GlossLM, Scoring
from slt.evaluation.translation import translate
from slt.models.confidence import refuse_abstaining
from slt.models.tokenizer import Tokenize
from slt.models.trained import Model
from slt.streams.batch import Batching
from slt.training import processes
from slt.training.batches import evaluation_batches
from slt.training.machine import Compute
from slt.words import say, told

ALL, WITHOUT = "all streams", "without "


@dataclass
class Assessment:
    split: str
    predictions: list[Prediction]  # of its clips, by id
    scores: dict[str, Score]
    loss: float  # nats a token
    floor: ConstantBaseline
    neighbour: Neighbour | None  # None where it was not looked for
    controls: dict[str, dict[str, Score]]  # `without NAME`, `shuffled`, `frozen`: where it does not see the clip
    groups: Groups
    variety: Variety
    leaks: Leaks
    calibration: Calibration | None = None  # where the model has no confidence

    @property
    def blanked(self) -> dict[str, dict[str, Score]]:
        """The controls of streams taken as not seen, by stream."""
        return {name.removeprefix(WITHOUT): each for name, each in self.controls.items() if name.startswith(WITHOUT)}

    def summary(self, examples: int) -> str:
        """What the terminal shows: scores, controls, and `examples` translations beside their references."""
        lines = [f"{self.split}: {len(self.predictions)} clips, loss {self.loss:.3f} nats a token"]
        width = max(10, *map(len, self.scores))
        lines += [f"  {name:{width}s} {value}" for name, value in self.scores.items()]
        lines += [
            f"  {self.variety}",
            f"  BLEU of the best constant sentence: {self.floor.scores['bleu'].value:.2f}  ({self.floor.sentence})",
        ]
        if self.neighbour is not None:
            lines += [f"  BLEU of {self.neighbour}: {self.neighbour.scores['bleu'].value:.2f}"]
        lines += [told(f"  BLEU {name}: {scores['bleu'].value:.2f}") for name, scores in self.controls.items()]
        for kind, groups in self.groups.items():
            name = worst(groups)
            group = groups[name]
            lines += [f"  BLEU, worst by {say(KINDS[kind])}: {group.scores['bleu']}  ({name}, {group.clips} clips)"]
        lines += [f"  {line}" for line in ([] if self.calibration is None else self.calibration.lines())]
        for p in spread(self.predictions, examples):
            lines += [f"  {p.id}", told(f"    reference:   {p.reference}"), told(f"    translation: {p.hypothesis}")]
        return "\n".join(lines)


def score_split(
    model: Model,
    clips: Clips,
    train: Clips,
    batching: Batching,
    scoring: Scoring,
    compute: Compute,
    *,
    foreign: Clips | None = None,
) -> Assessment | None:
    """Translates a split and scores it as its corpus is scored; `train` is for the floors and the leaks.

    A model with a confidence is asked whether it would refuse `foreign`, clips of another corpus, as it should.
    Several processes translate their clips each; the first scores all the sentences, the others get None.
    """
    refuse_abstaining(scoring.abstain, model.confidence, model.search)
    tokenize = Tokenize(model.tokenizer, model.search.max_tokens)

    def run(shown: Any, label: str, drop: Collection[str] = scoring.drop, **signs: Any) -> Any:
        batches = evaluation_batches(shown, tokenize, batching, by_film=model.translator.reads_context)
        return translate(model, batches, model.search, compute, drop=drop, progress=label, **signs)

    language = Language.of(GlossLM.of(scoring.gloss_lm), [*train.columns.get("gloss", ())], model.glosses)
    predictions, loss = run(clips, clips.split, gloss_beam=scoring.gloss_beam, language=language)
    names = [name for name in clips.streams if name not in scoring.drop]
    gone = {ALL: tuple(clips.streams), **({name: (name, *scoring.drop) for name in names} if len(names) > 1 else {})}
    unlike = {f"{WITHOUT}{name}": run(clips, f"{WITHOUT}{name}", drop)[0]
              for name, drop in gone.items() if scoring.blanked}  # fmt: skip
    if scoring.shuffled and len(clips) > 1:
        unlike["shuffled"] = run(Swapped(clips), "shuffled")[0]
    if scoring.frozen:
        unlike["frozen"] = run(Frozen(clips), "frozen")[0]
    beyond = [] if foreign is None or model.confidence is None else run(Foreign(foreign, clips.texts[0]), FOREIGN)[0]
    if not processes.first():
        return None
    predictions = _named(predictions, clips)
    rules: dict[str, Any] = {"conventions": Conventions.of(clips.scoring), "seed": scoring.seed}
    draws = rules | {"bootstrap": scoring.bootstrap}
    same = draws | {"signers": [p.signer for p in predictions]}
    most = scoring.neighbour
    return Assessment(
        clips.split, predictions, scored(predictions, **draws), loss,
        floor=constant_floor(list(train.texts), [p.reference for p in predictions], **same),
        neighbour=None if most is None else neighbour_floor(clips, train, most=most, **same),
        controls={name: scored(each, bootstrap=0, **rules) for name, each in unlike.items()},
        groups=by_group(predictions, **draws), variety=Variety.of(predictions),
        leaks=leak_report(*({**each.columns, "text": list(each.texts)} for each in (clips, train)), examples=5),
        calibration=_calibration(model, predictions, unlike, beyond, abstain=scoring.abstain, **draws),
    )  # fmt: skip


def _named(predictions: Sequence[Prediction], clips: Clips) -> list[Prediction]:
    """The predictions with what the corpus says of their clips."""
    known = {key: dict(zip(clips.ids, clips.columns[key], strict=True))
             for key in ("signer", "corpus") if key in clips.columns}  # fmt: skip
    return [replace(p, **{key: its.get(p.id, "") for key, its in known.items()}) for p in predictions]


def _calibration(
    model: Model,
    predictions: Sequence[Prediction],
    unlike: Mapping[str, Sequence[Prediction]],
    beyond: Sequence[Prediction],
    **rules: Any,
) -> Calibration | None:
    if model.confidence is None or predictions[0].confidence is None:
        return None
    refused = {NOBODY: unlike.get(f"{WITHOUT}{ALL}", ()), STILL: unlike.get("frozen", ()), FOREIGN: beyond}
    return calibration(predictions, refused, model.confidence, **rules)
