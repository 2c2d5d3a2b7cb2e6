"""From a checkpoint to an exported folder: rebuild a run, export it, and prove that it is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from slt.config import build, runs
from slt.config.checks import check
from slt.corpora.provenance import refuse_other_extractor
from slt.exporting import hub
from slt.exporting.card import Facts
from slt.exporting.folder import Beside, Comparison, export_folder
from slt.files import existing, read_json, rebuilding
from slt.inference.open import EMBEDDED
from slt.models.confidence import Confidence
from slt.models.search import Search
from slt.models.trained import Trained, extractor_settings
from slt.sweeps.status import read_status
from slt.training import lineage, weights
from slt.training.checkpoint import find_checkpoint, load_checkpoint


def open_run(
    checkpoint: Path, search: DictConfig | None = None, *, trust: Sequence[str] = ()
) -> tuple[Trained, DictConfig]:
    """Rebuild a checkpoint (of a run or an exported folder, or a .pt file), and return its configuration too.

    `search` are values that differ from those of the run's evaluation; `trust` as in `build.restore`.
    """
    path = find_checkpoint(checkpoint, "best.pt")
    payload = load_checkpoint(path)
    cfg, translator, tokenizer = build.restore(payload, path, trust=trust)
    longest = cfg.decoder.max_tokens
    given: dict[str, Any] = {str(key): value for key, value in (search or {}).items() if value is not None}
    if given.get("max_tokens", longest) > longest:
        raise ValueError(f"search.max_tokens={given['max_tokens']}: the run was trained on at most {longest} tokens")
    own = path.parent if path.name == weights.WEIGHTS else path.parent.parent
    with rebuilding(path):
        readers = instantiate(cfg.dataset.streams, _convert_="all")
        root = cfg.dataset.root if isinstance(cfg.dataset.root, str) else ""
        default = {"num_beams": cfg.evaluation.num_beams, "length_penalty": cfg.evaluation.length_penalty}
        trained = Trained(
            name=own.name or path.stem, translator=translator.eval(), tokenizer=tokenizer,
            streams=tuple(readers[name].spec(name, shape) for name, shape in payload["shapes"].items()),
            fps=cfg.dataset.fps, max_frames=cfg.dataset.max_frames, extractor=payload.get("extractor"),
            extractor_settings=extractor_settings(Path(root), payload.get("extractor")),
            search=Search(**(default | {"max_tokens": longest} | given)), precision=cfg.precision,
            seen={"corpus": payload.get("corpus"), "signers": payload.get("signers", [])},
            confidence=Confidence.of(payload.get("confidence")),
        )  # fmt: skip
    return trained, cfg


def parity_scores(said: dict[str, Any]) -> dict[str, float]:
    """Return what the dashboard shows of a comparison of sentences: of its last search, the beam."""
    kind, bleu = list(said["bleu"].items())[-1]
    found = {"bleu": bleu["exported"], "checkpoint_bleu": bleu["checkpoint"], "differing": said["differing"][kind]}
    return {f"{said['split']}/{name}": value for name, value in found.items()}


def export(cfg: DictConfig) -> None:
    """Exports, and pushes where it is told to; without a checkpoint it pushes the folder that is there."""
    check(cfg)
    if cfg.push is not None:
        hub.check_name(cfg.push, f"push={cfg.push}")  # before the work of minutes
    if cfg.checkpoint is not None:
        _make(cfg)
    elif cfg.push is None:
        raise ValueError("checkpoint is missing: give it, as in checkpoint=RUN")
    if cfg.push is not None:
        print(f"pushed: {hub.push(Path(cfg.out), cfg.push, private=cfg.private)}")


def _make(cfg: DictConfig) -> None:
    run = runs.begin_run(cfg)
    trained, config = open_run(Path(cfg.checkpoint), cfg.search, trust=cfg.trust)
    if cfg.dataset.root is not None:
        config.dataset.root = cfg.dataset.root
    if cfg.other_extractor:
        build.take_other_extractor(config.dataset)
    split = cfg.parity.split or config.final or config.val
    clips = build.build_splits(config, [split], augment=False, named_by="parity.split")[split]
    refuse_other_extractor(trained.extractor, clips.extractor, where=str(clips.root), allowed=cfg.other_extractor)
    trained = replace(trained, extractor_settings=extractor_settings(clips.root, trained.extractor))
    out, path = Path(cfg.out), find_checkpoint(Path(cfg.checkpoint), "best.pt")
    dashboard = runs.open_dashboard(cfg, run, "export", uses=lambda: [
        runs.clips_item(clips), lineage.checkpoint(path)
    ])  # fmt: skip
    compared = Comparison(clips=clips, batches=cfg.parity.batches, limit=cfg.parity.limit, seed=cfg.seed)
    payload = load_checkpoint(path)
    own = path.parent.parent
    scored = own if cfg.scores is None else scored_by(Path(cfg.scores), payload)
    beside = Beside(payload=payload, facts=facts_of(payload, config, own, scored=scored, licence=cfg.licence))
    manifest = export_folder(
        trained, out, compared, name=cfg.name or out.name, precision=cfg.precision, program=cfg.program, say=print,
        beside=beside,
    )  # fmt: skip
    dashboard.makes(lineage.exported(out))
    dashboard.summary(parity_scores(manifest.parity["sentences"]))
    dashboard.close()
    print(f"exported: {out}")


def scored_by(run: Path, payload: Mapping[str, Any]) -> Path:
    """Return the run folder of an evaluation, which must be of this checkpoint, as far as its step tells."""
    step = read_json(existing(run / "scores.json", "the run folder of an evaluation, by slt.eval")).get("step")
    if step != payload["step"]:
        raise ValueError(f"scores={run}: of a checkpoint at step {step}, but this one is at step {payload['step']}")
    return run


def facts_of(payload: Mapping[str, Any], cfg: DictConfig, run: Path, *, scored: Path, licence: str | None) -> Facts:
    """Return what the card of a checkpoint says, by the checkpoint and by the files of its run, as far as they are.

    Its scores are those in the folder `scored`.
    """
    files = (run / "origin.json", run / "energy.json", scored / "scores.json")
    origin, energy, scores = (read_json(path) if path.is_file() else {} for path in files)
    status, data = read_status(run), payload.get("data") or {}
    return Facts(
        corpus=data.get("corpus") or {}, clips=data.get("clips") or 0, signers=len(payload.get("signers") or ()),
        consent=data.get("consent") or {}, embedded=str(payload.get("extractor")).startswith(EMBEDDED),
        language=cfg.decoder.get("language") or "", scores=scores, licence=licence or "",
        seconds=None if status is None else status.seconds, energy=energy.get("joules") or {},
        processor=str(origin.get("processor") or ""), gpus=tuple(origin.get("gpus") or ()),
        seq2seq="architecture" in cfg.decoder, scored=str(scores.get("split") or cfg.final or ""),
    )  # fmt: skip
