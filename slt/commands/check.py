"""A corpus to numbers and faults, and to splits of one's own where these are asked for."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from slt.config.checks import check
from slt.corpora.choosing import Chosen, every_row, units
from slt.corpora.corpus import Corpus
from slt.corpora.counts import count_corpus, lines
from slt.corpora.folder import FolderCorpus
from slt.corpora.splits import deal, write_splits
from slt.files import write_json


def check_corpus(cfg: DictConfig) -> int:
    """Prints what is found, writes it to counts.json in the run folder, and returns the exit status."""
    check(cfg)
    if "parts" in cfg.dataset:
        raise ValueError("dataset: a mixture has no clips of its own; check each of its parts, as in dataset=how2sign")
    corpus = open_corpus(cfg.dataset)
    counts, faults = count_corpus(corpus, {name: stream.folder for name, stream in cfg.dataset.streams.items()})
    print("\n".join(lines(corpus.root, counts, faults)))
    folder = Path(HydraConfig.get().runtime.output_dir)
    write_json(folder / "counts.json", {"splits": {name: asdict(each) for name, each in counts.items()},
                                        "faults": faults})  # fmt: skip
    if cfg.split.out is not None and counts:
        _draw(corpus, cfg.split)
    return 0 if counts else 1


def open_corpus(dataset: DictConfig) -> Corpus:
    """The corpus of a configuration of clips, without its streams."""
    root = instantiate(dataset.root) if isinstance(dataset.root, DictConfig) else dataset.root
    corpus: Any = instantiate(dataset.corpus)(root) if "corpus" in dataset else FolderCorpus(root)
    chosen = dataset.get("splits"), dataset.get("withdrawn")
    return corpus if chosen == (None, None) else Chosen(corpus, splits=chosen[0], withdrawn=chosen[1])


def _draw(corpus: Corpus, split: DictConfig) -> None:
    rows = list(every_row(corpus))
    shares = {name: float(split[name]) for name in ("train", "val", "test")}
    if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"split: shares that sum to 1 expected, came {shares}")
    ids = [row.id for row in rows]
    dealt = deal(ids, units(rows, split.by), shares=shares, seed=split.seed, ordered=split.by == "date")
    write_splits(Path(split.out) / "index", {name: each for name, each in dealt.items() if each})
    found = ", ".join(f"{name} {len(each)}" for name, each in dealt.items())
    print(f"splits by {split.by}: {found} clips in {split.out}; read them with dataset.splits={split.out}")
