"""From films with captions to a segmenter: a small network learns tags of frames and is scored beside the rules.

Shape letters: B pieces of films, T frames, F features.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from safetensors.numpy import save
from torch import Tensor
from torch.nn import functional
from tqdm import trange

from slt.config import runs
from slt.config.checks import check
from slt.corpora.posed import PosedFilm, PosedFilms
from slt.evaluation.segments import SegmentScores, score_segments
from slt.files import atomic, write_json
from slt.inference.posed import film_segments
from slt.inference.segments import Segmentation
from slt.inference.tagging import Tagging, describe_tagging
from slt.models.tagger import TAGS, Tagger
from slt.streams.phrases import WIDTH, Floats, features, film_tags
from slt.streams.skeleton import MEDIAPIPE

FILE = "segmenter.safetensors"
Learned = tuple[Floats, NDArray[np.int64]]  # features (T, F) and tags (T,)


def segment(cfg: DictConfig) -> float:
    """Trains, writes the segmenter, and returns F1 of the segments of test."""
    check(cfg)
    folder = runs.begin_run(cfg)
    films = open_films(cfg)
    torch.manual_seed(cfg.seed)
    tagger = instantiate(cfg.network)(num_features=WIDTH)
    lessons = [lesson for film in films.split("train") for lesson in both_ways(film, cfg.fps)]
    train(tagger, lessons, cfg)
    tagging = as_tagging(tagger, cfg)
    content = save(dict(tagging.weights), {"slt": json.dumps(describe_tagging(tagging))})
    with atomic(folder / FILE) as file:
        file.write(content)
    settings: Any = OmegaConf.to_container(cfg.segment, resolve=True)
    found = {}
    for split in ("val", "test"):
        rules, learned = score_both(list(films.split(split)), Segmentation(**settings), tagging)
        found[split] = {"rules": asdict(rules), "learned": asdict(learned)}
        print(f"{split}, by rules: {rules}\n{split}, learned:  {learned}")
    write_json(folder / "scores.json", found)
    print(f"films: {films.root}\nuse it with segments=learned segmenter={folder / FILE}")
    return float(found["test"]["learned"]["f1"])


def open_films(cfg: DictConfig) -> PosedFilms:
    """The films of `root`, or the embedded corpus's."""
    captions = None if cfg.captions is None else Path(cfg.captions)
    root = instantiate(cfg.films, _convert_="all") if cfg.root is None else Path(cfg.root)
    return PosedFilms(root, captions=captions, tier=cfg.tier)


def both_ways(film: PosedFilm, fps: float) -> Iterator[Learned]:
    """The features and tags of a film at the network's pace, and of its mirror image."""
    step = max(1, round(film.fps / fps))
    points = film.points[::step]
    tags = film_tags([line[:2] for line in film.captions], len(points), film.fps / step)
    for shown in (points, mirrored(points)):
        yield features(shown, film.size, None), tags


def mirrored(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points (T, 75, 3) as in a mirror: a left-handed signer's where there was a right-handed one's."""
    out = np.array(points[:, MEDIAPIPE.mirror_order])
    out[..., 0] = 1 - out[..., 0]
    return out


def train(tagger: Tagger, lessons: Sequence[Learned], cfg: DictConfig) -> None:
    """Teach pieces of films, drawn as often as they are long; rare tags weigh by the square root of their rarity."""
    frames = max(round(cfg.seconds * cfg.fps), 2)
    counts = np.bincount(np.concatenate([tags for _, tags in lessons]), minlength=TAGS)
    if not counts[1:].all():
        raise ValueError("no film of train has a caption; expected captions with times for each")
    weights = torch.tensor((counts.sum() / np.maximum(counts, 1)) ** 0.5, dtype=torch.float32)
    rng = np.random.default_rng(cfg.seed)
    lengths = np.array([len(tags) for _, tags in lessons], float)
    optimizer = torch.optim.AdamW(tagger.parameters(), lr=cfg.lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, cfg.max_steps)
    tagger.train()
    for _ in trange(cfg.max_steps, desc="segmenter", unit="step", disable=None):
        chosen = rng.choice(len(lessons), cfg.batch_size, p=lengths / lengths.sum())
        pieces = [piece(lessons[place], frames, rng) for place in chosen]
        x, tags = (torch.from_numpy(np.stack(each)) for each in zip(*pieces, strict=True))
        noisy = x + cfg.noise * torch.randn_like(x)
        loss = tag_loss(tagger(noisy), tags, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    tagger.eval()


def tag_loss(logits: Tensor, tags: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of (B, T, 3) and (B, T), where -1 is beyond a film's end."""
    return functional.cross_entropy(logits.flatten(0, 1), tags.flatten(), weights, ignore_index=-1)


def piece(lesson: Learned, frames: int, rng: np.random.Generator) -> Learned:
    """Cut so many frames out of a film, anywhere; a shorter one is filled up with zeros, and tags of -1."""
    x, tags = lesson
    first = int(rng.integers(max(len(x) - frames, 0) + 1))
    x, tags = x[first : first + frames], tags[first : first + frames]
    lacks = frames - len(x)
    return np.pad(x, ((0, lacks), (0, 0))), np.pad(tags, (0, lacks), constant_values=-1)


def as_tagging(tagger: Tagger, cfg: DictConfig) -> Tagging:
    """What slt.demo runs in numpy."""
    weights = {name: value.detach().numpy().copy() for name, value in tagger.state_dict().items()}
    thresholds = {key: float(cfg[key]) for key in ("fps", "begin", "end", "split")}
    return Tagging(weights, tagger.dilations, **thresholds)


def score_both(
    films: Sequence[PosedFilm], settings: Segmentation, tagging: Tagging
) -> tuple[SegmentScores, SegmentScores]:
    """The scores of the rules and of what was learned."""
    true = [[line[:2] for line in film.captions] for film in films]
    by = [[film_segments(film, settings, how) for film in films] for how in (None, tagging)]
    rules, learned = (score_segments(list(zip(found, true, strict=True))) for found in by)
    return rules, learned
