"""From a checkpoint to an exported folder: rebuild a run, export it, and prove that it is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from slt.config import build, runs
from slt.config.checks import check
from slt.corpora.provenance import refuse_other_extractor
from slt.exporting.folder import Comparison, export_folder
from slt.files import rebuilding
from slt.models.confidence import Confidence
from slt.models.search import Search
from slt.models.trained import Trained, extractor_settings
from slt.training import lineage
from slt.training.checkpoint import find_checkpoint, load_checkpoint


def open_run(
    checkpoint: Path, search: DictConfig | None = None, *, trust: Sequence[str] = ()
) -> tuple[Trained, DictConfig]:
    """Rebuild a checkpoint (a run folder's best.pt, or a .pt file), and return its configuration too.

    `search` are values that differ from those of the run's evaluation; `trust` as in `build.restore`.
    """
    path = find_checkpoint(checkpoint, "best.pt")
    payload = load_checkpoint(path)
    cfg, translator, tokenizer = build.restore(payload, path, trust=trust)
    longest = cfg.decoder.max_tokens
    given: dict[str, Any] = {str(key): value for key, value in (search or {}).items() if value is not None}
    if given.get("max_tokens", longest) > longest:
        raise ValueError(f"search.max_tokens={given['max_tokens']}: the run was trained on at most {longest} tokens")
    with rebuilding(path):
        readers = instantiate(cfg.dataset.streams, _convert_="all")
        root = cfg.dataset.root if isinstance(cfg.dataset.root, str) else ""
        default = {"num_beams": cfg.evaluation.num_beams, "length_penalty": cfg.evaluation.length_penalty}
        trained = Trained(
            name=path.parent.parent.name or path.stem, translator=translator.eval(), tokenizer=tokenizer,
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
    """Exports."""
    check(cfg)
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
    out = Path(cfg.out)
    dashboard = runs.open_dashboard(cfg, run, "export", uses=lambda: [
        runs.clips_item(clips), lineage.checkpoint(find_checkpoint(Path(cfg.checkpoint), "best.pt"))
    ])  # fmt: skip
    compared = Comparison(clips=clips, batches=cfg.parity.batches, limit=cfg.parity.limit, seed=cfg.seed)
    manifest = export_folder(
        trained, out, compared, name=cfg.name or out.name, precision=cfg.precision, program=cfg.program, say=print
    )
    dashboard.makes(lineage.exported(out))
    dashboard.summary(parity_scores(manifest.parity["sentences"]))
    dashboard.close()
    print(f"exported: {out}")
