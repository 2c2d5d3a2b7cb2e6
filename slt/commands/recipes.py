"""What a few films, or many, can teach: splits that hold films or signers out, a recipe by the amount, its limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from slt.commands.steps import given, last_of_each, written
from slt.corpora.counts import words_of
from slt.evaluation.floors import constant_floor
from slt.extraction.source import Source
from slt.extraction.splitting import Splitting
from slt.extraction.survey import Survey, some
from slt.words import say

Splits = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Recipe:
    """How a corpus is trained on.

    Attributes:
        name: of its size, as in `sizes` of conf/start.yaml.
        overrides: of slt.train.
        reasons: of each group of them, a line each.
        scored: the split that eval and export look at.
    """

    name: str
    overrides: tuple[str, ...]
    reasons: tuple[str, ...]
    scored: str


def choose_split(found: Survey, cfg: DictConfig) -> Splitting:
    """Choose what no two splits share, and the first shares of `cfg.held_out` at which no split is empty.

    By signers where all clips name one, there are enough and none shares a film with another; else by films; where
    there are too few of either all is in train.
    """
    signers = {clip.columns.get("signer", "").strip() for clip in found.clips}
    by = cfg.by
    if by == "auto":
        enough = "" not in signers and len(signers) >= cfg.signers and not _films_of_several(found.clips)
        by = "signer" if enough else "film"
    all_trained = Splitting("all_train", 1.0, 0.0, 0.0, cfg.seed)
    if len(signers if by == "signer" else {clip.path for clip in found.clips}) < cfg.least_films:
        return all_trained
    for share in cfg.held_out:
        splitting = Splitting(by, round(1 - 2 * share, 6), share, share, cfg.seed)
        if all(splitting.groups(found.clips)[0].values()):
            return splitting
    return all_trained


def _films_of_several(clips: Sequence[Source]) -> bool:
    return len({(clip.path, clip.columns.get("signer", "")) for clip in clips}) > len({clip.path for clip in clips})


def split_lines(found: Survey, splitting: Splitting, splits: Splits) -> list[str]:
    """Return what is in which split, and what is on both sides all the same."""
    clips = {clip.video_id: clip for clip in found.clips}
    if splitting.by == "all_train":
        return ["splits: none; all clips are trained on, and the score says what was learned by heart"]
    lines = [f"splits by {splitting.by} (no {splitting.by} is in two of them):"]
    for name, ids in splits.items():
        seconds = sum(found.seconds(clips[each]) for each in ids)
        films = len({clips[each].path for each in ids})
        lines.append(f"  {name}: clips {len(ids)}, films {films}, {seconds:.0f} s")
    for kind, known in (("signers", _signers), ("sentences", _sentences)):
        shared = known(clips, splits.get("test", ())) & known(clips, splits.get("train", ()))
        if shared:
            lines.append(f"  {kind} of test that are in train too: {some(sorted(shared))}")
    return lines


def _signers(clips: Mapping[str, Source], ids: Sequence[str]) -> set[str]:
    return {clips[each].columns.get("signer", "") for each in ids} - {""}


def _sentences(clips: Mapping[str, Source], ids: Sequence[str]) -> set[str]:
    return {clips[each].text for each in ids}


def expectations(found: Survey, splits: Splits, few: int) -> list[str]:
    """Return what a score is to be held against, by their own sentences, and where there are few, what not to expect.

    Published figures: How2Sign has some 80 hours (Duarte et al., "How2Sign", CVPR 2021); LSA-T 21.6 hours in 8,459
    clips. Their scores stand with their sources in docs/start.md.
    """
    texts = {clip.video_id: clip.text for clip in found.clips}
    train = [texts[each] for each in splits["train"]]
    test = [texts[each] for each in splits.get("test", splits["train"])]
    floor = constant_floor(train, test, only=("bleu", "chrf"), bootstrap=0, seed=0)
    known = {word for text in train for word in words_of(text)}
    words = [word for text in test for word in words_of(text)]
    lines = [
        f"  whoever says {floor.sentence!r} of every clip has {floor.scores['bleu'].value:.2f} BLEU and "
        f"{floor.scores['chrf'].value:.1f} chrF: a score means something where its whole interval is above that",
    ]
    if "test" in splits:
        new = sum(word not in known for word in words)
        lines.append(f"  words of test that stand in no sentence of train: {new} of {len(words)}")
        if len(test) < few:
            lines.append(f"  sentences of test: {len(test)}; whatever the score, so few say little of others")
    if len(train) < few:
        lines += [
            f"  clips to learn from: {len(train)}, too few for a translator: expect it to know its own sentences by "
            "heart, and to be wrong about others",
            "  published systems, for comparison: about 1 BLEU, which is what one constant sentence has there, with "
            "the 21.6 hours of LSA-T; 2.4 to 12 with the some 80 hours of How2Sign alone",
            "  what a few films are good for: to see that all works on them, what of the signing is seen (the report "
            "of the extraction), and how much must be filmed and captioned next",
        ]
    return ["what can be expected:", *lines]


def choose_recipe(found: Survey, splits: Splits, cfg: DictConfig) -> Recipe:
    """Choose by the clips and hours that are trained on; thresholds and overrides are those of conf/start.yaml."""
    clips = [clip for clip in found.clips if clip.video_id in {*splits["train"]}]
    hours = sum(map(found.seconds, clips)) / 3600
    fitting = [name for name, size in cfg.sizes.items() if len(clips) >= size.clips and hours >= size.hours]
    if not fitting:
        raise ValueError(f"sizes: none begins at 0 clips and 0 hours; {len(clips)} clips and {hours:.2f} h came")
    name = max(fitting, key=lambda each: (cfg.sizes[each].clips, cfg.sizes[each].hours))
    parts = {key: part for key, part in cfg.sizes[name].items() if key not in ("clips", "hours")}
    if cfg.pretrained is not None:
        parts["decoder"] = cfg.published
    held_out = {"val", "test"} <= splits.keys()
    if not held_out:
        parts["nothing held out"] = cfg.by_heart
    overrides = [each for part in parts.values() for each in part.set]
    reasons = [f"  {', '.join(part.set)}: {say(part.why)}" for part in parts.values()]
    return Recipe(
        name,
        last_of_each([*overrides, *_longest(clips, cfg), *_given(cfg)]),
        (f"recipe: {name}, for {len(clips)} clips and {hours:.2f} h to learn from", *reasons, *_named(cfg)),
        "test" if held_out else "train",
    )


def _longest(clips: Sequence[Source], cfg: DictConfig) -> list[str]:
    """Return the overrides that make room for the longest caption: no tokenizer needs more tokens than bytes."""
    tokens = 8 * math.ceil((max(len(clip.text.encode()) for clip in clips) + 8) / 8)
    room = [] if cfg.pretrained else [f"decoder.config.max_position_embeddings={max(cfg.positions, tokens)}"]
    return [f"decoder.max_tokens={tokens}", *room]


def _given(cfg: DictConfig) -> list[str]:
    weights = {"decoder.pretrained": cfg.pretrained, "start": cfg.weights}
    return [*(written(key, name) for key, name in weights.items() if name), f"seed={cfg.seed}", *given(cfg, "train")]


def _named(cfg: DictConfig) -> list[str]:
    own = given(cfg, "train")
    lines = [f"  given by you: {', '.join(own)}"] if own else []
    if weights := [name for name in (cfg.pretrained, cfg.weights) if name]:
        return [*lines, f"  weights from elsewhere: {', '.join(weights)}"]
    none = "  no weights from elsewhere: pretrained=FOLDER names a published T5, weights=RUN a run to begin from"
    return [*lines, none]
