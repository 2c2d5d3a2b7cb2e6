"""`python -m slt.eval checkpoint=RUN`: rebuild everything from the checkpoint, translate a split, score it, report."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from slt.config import assemble
from slt.config.checks import check
from slt.config.entry import main
from slt.corpora.provenance import refuse_other_extractor
from slt.evaluation.assessment import examine
from slt.models.tokenizer import Tokenize
from slt.training import lineage
from slt.training.checkpoint import find_checkpoint, load_checkpoint
from slt.training.machine import choose_device
from slt.training.record import read_metrics


@main("eval")
def evaluate(cfg: DictConfig) -> float:
    """Evaluates, and returns BLEU."""
    check(cfg)
    run = assemble.begin_run(cfg)
    device = choose_device(cfg.device)
    path = find_checkpoint(Path(cfg.checkpoint), "best.pt")
    payload = load_checkpoint(path)
    trained, translator, tokenizer = assemble.restore(payload, path, trust=cfg.trust)
    if cfg.dataset.root is not None:
        trained.dataset.root = cfg.dataset.root
    if cfg.other_extractor:
        trained.dataset.mixed_extractors = True
    splits = assemble.build_splits(trained, ["train", cfg.split], augment=False, named_by="split")
    clips, train = splits[cfg.split], splits["train"]
    refuse_other_extractor(
        payload.get("extractor"), clips.extractor, where=str(clips.root), allowed=cfg.other_extractor
    )
    assemble.check_streams(clips, payload["shapes"], cfg.streams.drop)
    clips.check_seen(strict=False)
    history = path.parent.parent / "metrics.csv"
    dashboard = assemble.open_dashboard(
        cfg, run, "eval", uses=lambda: [*assemble.corpus_items(clips.root), lineage.checkpoint(path)]
    )
    found = examine(
        translator.to(device), clips, train, tokenizer, Tokenize(tokenizer, trained.decoder.max_tokens),
        folder=run, curves=read_metrics(history) if history.is_file() else {},
        config_text=OmegaConf.to_yaml(trained), dashboard=dashboard, device=device, seed=cfg.seed,
        precision=cfg.precision or trained.precision, num_workers=cfg.num_workers,
        max_tokens=trained.decoder.max_tokens, drop=list(cfg.streams.drop), batch_size=cfg.batch_size,
        batch_frames=cfg.batch_frames,
        about={"checkpoint": str(path), "corpus": clips.fingerprint, "step": payload["step"]},
        glosses=payload["glosses"], **cfg.evaluation,
    )  # fmt: skip
    dashboard.close()
    assert found is not None
    return found.scores["bleu"].value


if __name__ == "__main__":
    evaluate()
