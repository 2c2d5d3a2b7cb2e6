"""From a checkpoint to one that knows a signer: low-rank adapters learn from a few clips and become its weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

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
from slt.evaluation.translation import translate
from slt.files import rebuilding
from slt.models.adapters import add_adapters, has_adapters, linear_layers, merge_adapters
from slt.models.confidence import Confidence
from slt.models.tokenizer import Tokenize
from slt.models.trained import Model
from slt.models.translator import Translator
from slt.streams.batch import Batching
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
    learned, others, train, rest = signer_clips(cfg, trained, rest=known is not None)
    refuse_other_extractor(payload.get("extractor"), others.extractor, where=str(others.root), allowed=False)
    build.check_streams(others, payload["shapes"], [])
    model = build.as_model(trained, translator.to(device), tokenizer, payload["glosses"], cfg.evaluation)
    batching = Batching(cfg.batch_size, None, cfg.num_workers)
    tokenize = Tokenize(tokenizer, trained.decoder.max_tokens)
    compute = Compute(device, cfg.precision or trained.precision)
    batches = evaluation_batches(others, tokenize, batching, by_film=translator.reads_context)
    before, _ = translate(model, batches, model.search, compute, progress="before")
    run = Run(folder / "checkpoints", compute, Record(folder, []), {})
    learn(cfg, translator, TrainBatches(learned, tokenize, batching, pin_memory=False, seed=cfg.seed), run)
    mark = lineage.signer_marks([cfg.signer])
    told: dict[str, Any] = {"signers": sorted({*payload["signers"], *mark})} if payload.get("signers") else {}
    if known is not None:
        sure = sure_anew(model, known, rest, batching, compute)
        model, told["confidence"] = replace(model, confidence=sure), asdict(sure)
    kept = {key: payload[key] for key in CARRIED if key in payload}
    save_checkpoint(run.folder / "best.pt", {**kept, **told, "model": translator.state_dict()})
    (run.folder / "last.pt").unlink()  # of a model with adapters, which no configuration describes
    scoring = taken(Scoring, cfg.evaluation, seed=cfg.seed)
    found = score_split(model, others, train, batching, scoring, compute)
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
    print(f"{cfg.signer}: {len(learned)} clips learned, {len(others)} others: BLEU {gain['before']:.2f} before, "
          f"{gain['value']:+.2f} [{gain['low']:+.2f}, {gain['high']:+.2f}] by it (p {gain['p']:.3f})")  # fmt: skip
    return found.scores["bleu"].value


def signer_clips(cfg: DictConfig, trained: DictConfig, *, rest: bool) -> tuple[Clips, Clips, Clips, Clips | None]:
    """The signer's clips that are learned, augmented as in training; their others; those of the first training.

    At last, with `rest`, the clips of its validation split that other people sign; None where there are none.
    """
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
    learned = clips.take(np.sort(drawn[: cfg.clips]))
    learned.augment = Augment.of(augment.get("augment"))
    strangers = np.flatnonzero(~_theirs(splits[trained.val], cfg.signer)) if rest else np.array([], int)
    left = splits[trained.val].take(strangers) if len(strangers) else None
    return learned, clips.take(np.sort(drawn[cfg.clips :])), splits["train"], left


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


def learn(cfg: DictConfig, translator: Translator, batches: TrainBatches, run: Run) -> None:
    """Train adapters on all linear layers of encoder and decoder, which then become part of the weights."""
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
        schedule=instantiate(cfg.schedule, _convert_="all"), batches=batches, evaluate=None, run=run,
        settings=LoopSettings(strategy="ddp", max_steps=cfg.max_steps, accumulate=1, grad_clip=1.0,
                              log_every=10, eval_every=cfg.max_steps, select="bleu"),
    )  # fmt: skip
    trainer.run()
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
