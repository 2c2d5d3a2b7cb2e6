"""From whole films and captions that follow the sound to captions that follow the signing, film by film."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from slt.config.checks import check, taken
from slt.corpora.align import Alignment, Span, filled
from slt.corpora.align import align as assign
from slt.corpora.cues import write_srt
from slt.corpora.posed import PosedFilms
from slt.files import TextLines, atomic
from slt.inference.posed import film_segments
from slt.inference.segments import Segmentation
from slt.inference.tagging import read_tagging

TABLE = "shifts.csv"
COLUMNS = ("film", "number", "start", "end", "new_start", "new_end", "shift", "aligned", "text")


def align(cfg: DictConfig) -> None:
    """Writes NAME.srt of each film and a table of all shifts into `out`, and prints a line a film."""
    check(cfg)
    out = Path(cfg.out)
    films = PosedFilms(Path(cfg.root), captions=None if cfg.captions is None else Path(cfg.captions), tier=cfg.tier)
    if out.resolve() == films.captions.resolve():
        raise ValueError(f"out={out}: the captions themselves lie there and would be overwritten; give another folder")
    settings = taken(Alignment, cfg)
    rules = Segmentation(**OmegaConf.to_container(cfg.segment, resolve=True))  # type: ignore[arg-type]
    tagging = None if cfg.segmenter is None else read_tagging(Path(cfg.segmenter))
    rows: list[list[str]] = []
    for name in films.names:
        film = films.film(name)
        spans = [line[:2] for line in film.captions]
        found = assign(spans, film_segments(film, rules, tagging), settings)
        times = filled(spans, found)
        texts = [text for *_, text in film.captions]
        write_srt(out / f"{name}.srt", ((*span, text) for span, text in zip(times, texts, strict=True)))
        known = [span is not None for span in found]
        rows += [
            [name, str(n), *(f"{value:.3f}" for value in (*old, *new, middle(new) - middle(old))), str(sure), text]
            for n, (old, new, sure, text) in enumerate(zip(spans, times, known, texts, strict=True), 1)
        ]
        shifts = [middle(new) - middle(old) for old, new in zip(spans, times, strict=True)]
        told = f", moved by {np.median(shifts):+.2f} s in the median ({min(shifts):+.2f} to {max(shifts):+.2f})"
        print(f"{name}: {sum(known)} of {len(known)} captions met signing{told if shifts else ''}", flush=True)
    with atomic(out / TABLE) as file:
        csv.writer(TextLines(file), delimiter=";", lineterminator="\n").writerows([list(COLUMNS), *rows])
    print(f"captions of {len(films.names)} films and {TABLE} in {out}; read them with captions.path={out}")


def middle(span: Span) -> float:
    return (span[0] + span[1]) / 2
