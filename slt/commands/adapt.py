"""From a checkpoint to one that knows a signer: low-rank adapters learn from a few clips and become its weights."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from slt.config import build, runs
from slt.config.checks import check, taken
from slt.corpora.clips import Augment, Clips
from slt.corpora.provenance import refuse_other_extractor
from slt.evaluation.assessment import Assessment, score_split
from slt.evaluation.confidence import learn_confidence
from slt.evaluation.metrics import bleu, compare
from slt.evaluation.prediction import Prediction
from slt.evaluation.report import Shown
from slt.evaluation.results import write_results
from slt.evaluation.settings import Conventions, Scoring
from slt.evaluation.translation import translate, validate
from slt.files import rebuilding
from slt.models.adapters import add_adapters, has_adapters, linear_layers, merge_adapters
from slt.models.confidence import Confidence
from slt.models.tokenizer import Tokenize
from slt.models.trained import Model
from slt.models.translator import Translator
from slt.streams.batch import Batch, Batching
from slt.training import lineage
from slt.training.batches import TrainBatches, evaluation_batches
from slt.training.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from slt.training.loop import Run, Trainer, parameter_groups
from slt.training.machine import Compute, choose_device, fix_randomness
from slt.training.objective import TranslationLoss
from slt.training.record import Record
from slt.training.settings import LoopSettings

log = logging.getLogger(__name__)

# What a checkpoint tells of itself, which the adapted one tells too.
CARRIED = ("config", "hf_config", "tokenizer", "shapes", "glosses", "corpus", "extractor", "data", "best", "step")


def adapt(cfg: DictConfig) -> float:
    """Adapts, and returns BLEU on the signer's other clips."""
    check(cfg)
    folder, device = runs.begin_run(cfg), choose_device(cfg.device)
    fix_randomness(cfg.seed, deterministic=cfg.deterministic)
    path = find_checkpoint(Path(cfg.checkpoint), "best.pt")
    payload = load_checkpoint(path)
    trained, translator, tokenizer = build.restore(payload, path, trust=cfg.trust)
    if cfg.dataset.root is not None:
        trained.dataset.root = cfg.dataset.root
    with rebuilding(path):
        known = Confidence.of(payload.get("confidence"))
    parts = signer_clips(cfg, trained, rest=known is not None)
    others = parts.others
    refuse_other_extractor(payload.get("extractor"), others.extractor, where=str(others.root), allowed=False)
    build.check_streams(others, payload["shapes"], [])
    model = build.as_model(trained, translator.to(device), tokenizer, payload["glosses"], cfg.evaluation)
    batching = Batching(cfg.batch_size, None, cfg.num_workers)
    tokenize = Tokenize(tokenizer, trained.decoder.max_tokens)
    compute = Compute(device, cfg.precision or trained.precision)
    batches = evaluation_batches(others, tokenize, batching, by_film=translator.reads_context)
    before, _ = translate(model, batches, model.search, compute, progress="before")
    run = Run(folder / "checkpoints", compute, Record(folder, []), {})
    learn(cfg, model, parts, tokenize, batching, run)
    mark = lineage.signer_marks([cfg.signer])
    told: dict[str, Any] = {"signers": sorted({*payload["signers"], *mark})} if payload.get("signers") else {}
    if known is not None:
        sure = sure_anew(model, known, parts.rest, batching, compute)
        model, told["confidence"] = replace(model, confidence=sure), asdict(sure)
    kept = {key: payload[key] for key in CARRIED if key in payload}
    save_checkpoint(run.folder / "best.pt", {**kept, **told, "model": translator.state_dict()})
    (run.folder / "last.pt").unlink()  # of a model with adapters, which no configuration describes
    scoring = taken(Scoring, cfg.evaluation, seed=cfg.seed)
    found = score_split(model, others, parts.train, batching, scoring, compute)
    assert found is not None
    found = replace(found, split=f"{cfg.split}, one signer alone")  # as report and card say
    dashboard = runs.open_dashboard(
        cfg, folder, "adapt", uses=lambda: [runs.clips_item(others), lineage.checkpoint(path)]
    )
    gain = gained(before, found, Conventions.of(others.scoring), scoring)
    about = {"corpus": others.fingerprint, "step": payload["step"], "gain": gain}
    write_results(
        found, others, folder, strips=scoring.report_strips, dashboard=dashboard,
        about={"checkpoint": "checkpoints/best.pt", **about},
        shown=Shown(run.record.curves, OmegaConf.to_yaml(cfg, resolve=True)),
    )  # fmt: skip
    dashboard.close()
    print(told_gain(cfg, parts, gain))
    return found.scores["bleu"].value


class Parts(NamedTuple):
    """Whose clips are what; of the signer those of `split` alone."""

    learned: Clips  # of the signer, augmented as in training
    watched: Clips  # of the signer, not learned: they say which weights are best
    others: Clips  # of the signer, translated before and after
    train: Clips  # of the first training
    replayed: Clips  # those of them that others sign, augmented as then
    rest: Clips | None  # of its validation split, signed by others, where there are any and they are asked for


def told_gain(cfg: DictConfig, parts: Parts, gain: Mapping[str, float]) -> str:
    """Say how many clips were what, and what they brought."""
    count = f"{len(parts.learned)} clips learned, {len(parts.watched)} held out, {len(parts.others)} others"
    return (f"{cfg.signer}: {count}: BLEU {gain['before']:.2f} before, {gain['value']:+.2f} "
            f"[{gain['low']:+.2f}, {gain['high']:+.2f}] by it (p {gain['p']:.3f})")  # fmt: skip


def signer_clips(cfg: DictConfig, trained: DictConfig, *, rest: bool) -> Parts:
    """Divide the signer's clips, and read those of the first training; with `rest`, of its validation split too."""
    if "parts" in trained.dataset:
        raise ValueError(f"checkpoint={cfg.checkpoint}: trained on a mixture; expected a run of one corpus to adapt")
    augment: Any = OmegaConf.to_container(trained.dataset, resolve=True)
    names = {"train", cfg.split} | ({trained.val} if rest else set())
    splits = build.build_splits(trained, names, augment=False, named_by="split")
    clips = splits[cfg.split]
    own = np.flatnonzero(_theirs(clips, cfg.signer))
    if len(own) <= cfg.clips:
        there = sorted(clips.signers)
        raise ValueError(
            f"signer={cfg.signer}: {len(own)} clips in {cfg.split} of {clips.root}, expected more than "
            f"clips={cfg.clips}, so that some are left to translate; its signers: "
            f"{', '.join(there[:10]) or 'not named'}"
        )
    drawn = np.random.default_rng(cfg.seed).permutation(own)
    watched = round(cfg.held_out * cfg.clips)
    if watched == cfg.clips:
        raise ValueError(f"held_out={cfg.held_out}: of clips={cfg.clips} none is left to learn from")
    learned = clips.take(np.sort(drawn[watched : cfg.clips]))
    replayed = splits["train"].take(np.flatnonzero(~_theirs(splits["train"], cfg.signer)))
    learned.augment = replayed.augment = Augment.of(augment.get("augment"))
    strangers = np.flatnonzero(~_theirs(splits[trained.val], cfg.signer)) if rest else np.array([], int)
    left = splits[trained.val].take(strangers) if len(strangers) else None
    held, others = clips.take(np.sort(drawn[:watched])), clips.take(np.sort(drawn[cfg.clips :]))
    return Parts(learned, held, others, splits["train"], replayed, left)


def _theirs(clips: Clips, signer: str) -> Any:
    """Of each clip (N) whether a signer signs it; of none where the corpus does not say who does."""
    return np.asarray(clips.columns.get("signer", np.full(len(clips), ""))) == signer


def sure_anew(model: Model, known: Confidence, clips: Clips | None, batching: Batching, compute: Compute) -> Confidence:
    """The confidence of the adapted model: as its run's, on clips that are neither learned nor scored afterwards.

    Without such clips it stays that of the run, which says so.
    """
    if clips is None:
        log.warning("the confidence stays that of the run: nobody else signs in its validation split to fit it anew")
        return known
    log.info("the confidence is fitted anew on %d clips of %s that others sign", len(clips), clips.split)
    search = replace(model.search, num_beams=known.num_beams, length_penalty=known.length_penalty)
    return learn_confidence(replace(model, search=search), clips, batching, compute, good_chrf=known.good_chrf)


class InTurn:
    """A batch of each in turn."""

    def __init__(self, batches: Sequence[TrainBatches]) -> None:
        self.batches = batches

    def start(self, consumed: int) -> Iterator[Batch]:
        """As `TrainBatches.start`: from number `consumed` on, for ever."""
        count = len(self.batches)
        streams = [each.start((consumed - place + count - 1) // count) for place, each in enumerate(self.batches)]
        return (next(streams[turn % count]) for turn in itertools.count(consumed))


def learn(cfg: DictConfig, model: Model, parts: Parts, tokenize: Tokenize, batching: Batching, run: Run) -> None:
    """Train adapters on all linear layers of encoder and decoder, which then become part of the weights.

    They are as they were where the loss of the watched clips was lowest, before the first update too.
    """
    taught = [parts.learned, *([parts.replayed] if cfg.replay and len(parts.replayed) else [])]
    batches = InTurn([TrainBatches(clips, tokenize, batching, pin_memory=False, seed=cfg.seed) for clips in taught])
    evaluate = None
    if len(parts.watched):
        watched = evaluation_batches(parts.watched, tokenize, batching, by_film=model.translator.reads_context)
        evaluate = partial(validate, model, watched, run.compute)
    translator: Translator = model.translator
    networks = [translator.encoder, translator.decoder]
    if has_adapters(translator):
        raise ValueError(f"checkpoint={cfg.checkpoint}: it has adapters already, which are not trained twice")
    for network in networks:
        add_adapters(network, rank=cfg.rank, alpha=cfg.alpha, layers=linear_layers(network))
    groups = parameter_groups(translator, lr=cfg.optimizer.lr, rates={})
    trainer: Trainer = Trainer(
        model=translator,
        objective=TranslationLoss(label_smoothing=cfg.label_smoothing, gloss_weight=0.0, flat_start=0),
        optimizer=build.build_optimizer(cfg.optimizer, groups),
        schedule=instantiate(cfg.schedule, _convert_="all"), batches=batches, evaluate=evaluate, run=run,
        settings=LoopSettings(strategy="ddp", max_steps=cfg.max_steps, accumulate=len(batches.batches), grad_clip=1.0,
                              log_every=10, eval_every=cfg.eval_every, select="val/loss", lowest=True),
    )  # fmt: skip
    trainer.check()
    trainer.run()
    if evaluate is not None:
        best = load_checkpoint(run.folder / "best.pt")
        translator.load_state_dict(best["model"])
        log.info("of %d updates those up to %d are kept, by the clips held out", cfg.max_steps, best["step"])
    for network in networks:
        merge_adapters(network)


def gained(
    before: Sequence[Prediction], after: Assessment, conventions: Conventions, scoring: Scoring
) -> dict[str, float]:
    """BLEU before, and what the adapters bring, by a paired bootstrap over the clips."""
    said = {"before": [[p.hypothesis for p in before]], "after": [[p.hypothesis for p in after.predictions]]}
    references = [p.reference for p in before]
    draws: dict[str, Any] = {"bootstrap": max(scoring.bootstrap, 1), "seed": scoring.seed, "conventions": conventions}
    found = compare(said, references, baseline="before", **draws)["after"]
    return {"before": bleu(said["before"][0], references, conventions), **asdict(found)}
