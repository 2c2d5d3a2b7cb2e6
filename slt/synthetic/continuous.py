"""Continuous films of the embedded corpus: two signers in turn, sentences of no clip, pauses and hard cuts (T frames).

A film is a folder's `pose/NAME.npz` and `captions/NAME.srt`; those that are drawn are `films/NAME.mp4` too, with
`films/NAME.found`, which holds what a detector would find in each picture, as of slt/synthetic/drawn.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slt.corpora import layout
from slt.corpora.cues import write_srt
from slt.files import building, write_json
from slt.streams.arrays import write_pose
from slt.streams.skeleton import MEDIAPIPE
from slt.synthetic import motion
from slt.synthetic.drawn import FilmWriter
from slt.synthetic.filming import SPLITS, Recipe, cast, detected, draw_crops, look_in, seen_marks
from slt.synthetic.grammar import GRAMMARS, Meaning, sentences, signed, translate
from slt.synthetic.lexicon import lexicon
from slt.synthetic.writing import digest, recipe_of

Floats = motion.Floats
BY_FRAME = ("pose", "hands", "handshape", "mouth", "brows", "mouth_mix", "brows_mix")
_FASTEST = 1.5  # seconds that no sentence with its pause falls below: so many are drawn beforehand


@dataclass(frozen=True, kw_only=True)
class Films:
    """How continuous films are made, of a corpus's signs, grammar and signers."""

    count: dict[str, int]  # films by split; their signers are those of the split
    seconds: dict[str, float]  # of a film, at least, by split
    pause: tuple[float, float]  # seconds at rest between two sentences of a turn, from and to
    turn: tuple[int, int]  # sentences before the film cuts to the other signer, from and to
    trim: float  # seconds cut away at both ends of every second turn: hands are still up when the film cuts
    drawn: tuple[str, ...]  # splits whose films are drawn, which takes 15 KB a frame

    def __post_init__(self) -> None:
        for key, values in (("count", self.count), ("seconds", self.seconds)):
            if set(values) != set(SPLITS) or min(values.values()) < 1:
                raise ValueError(f"films.{key}: a number of at least 1 for each of train, val and test, came {values}")
        if not 0 <= self.trim <= 0.2:
            raise ValueError(f"films.trim={self.trim}: seconds from 0 to 0.2, of which a sentence's ends are longer")
        if not 0 <= self.pause[0] <= self.pause[1] or not 1 <= self.turn[0] <= self.turn[1]:
            raise ValueError(f"films: pause and turn go from less to more, came {self.pause} and {self.turn}")


def films_folder(
    *,
    corpus: Mapping[str, Any],
    count: Mapping[str, int],
    seconds: Mapping[str, float],
    drawn: Sequence[str],
    **films: Any,
) -> Path:
    """Return the folder of the films that these parameters give; write it first if it is not there yet.

    Args:
        corpus: the keywords of `corpus_folder`; its clips need not be there.
        count, seconds, drawn, films: the values of `Films`.
    """
    given = {key: value for key, value in corpus.items() if not key.startswith("_")}
    cache = Path(given.pop("cache")).expanduser()
    for key in ("workers", "progress"):
        given.pop(key, None)
    recipe = recipe_of(given.pop("noise"), given)
    ranges = {key: tuple(films.pop(key)) for key in ("pause", "turn")}
    lengths = {split: float(value) for split, value in seconds.items()}
    plan = Films(count=dict(count), seconds=lengths, drawn=tuple(drawn), **films, **ranges)  # type: ignore[arg-type]
    folder = cache / f"synthetic-films-{digest(recipe, plan)}"
    with building(folder, last="corpus.json") as made:
        if made is not None:
            _write(made, recipe, plan)
    return folder


def _write(folder: Path, recipe: Recipe, plan: Films) -> None:
    extractor = f"synthetic-{digest(recipe)}"
    needed = sum(plan.count[split] * (int(plan.seconds[split] / _FASTEST) + 10) for split in SPLITS)
    known = sum(recipe.clips.values())
    rng = np.random.default_rng([recipe.seed, 0])  # of the corpus: its sentences come first
    fresh = iter(sentences(lexicon(recipe.size), GRAMMARS[recipe.size], rng, known + needed)[known:])
    facts: list[dict[str, Any]] = []
    for split in SPLITS:
        names = [f"{split}_{number:02d}" for number in range(plan.count[split])]
        layout.write_index(folder / "index" / f"{split}.csv", names)
        for number, name in enumerate(names):
            rng = np.random.default_rng([recipe.seed, 4, SPLITS.index(split), number])
            signers = cast(recipe)[split]
            pair = [signers[place] for place in rng.permutation(len(signers))[:2]]
            maker = _Maker(folder, name, recipe, len(facts), draws=split in plan.drawn)
            *cuts, frames = maker.film(pair, fresh, plan, split, rng)
            facts.append({"video_id": name, "extractor": "slt.synthetic", "fingerprint": extractor,
                          "fps": recipe.fps, "frames": frames, "cuts": cuts})  # fmt: skip
    layout.write_metadata(folder / "metadata.jsonl", facts)
    about = {"corpus": dataclasses.asdict(recipe), "films": dataclasses.asdict(plan)}
    write_json(folder / "corpus.json", {"maker": "slt.synthetic", "fingerprint": extractor, "parameters": about})


class _Maker:
    """Makes one film, turn by turn."""

    def __init__(self, folder: Path, name: str, recipe: Recipe, number: int, *, draws: bool) -> None:
        self.folder, self.name, self.recipe, self.draws, self.number = folder, name, recipe, draws, number

    def film(
        self, pair: Sequence[motion.Signer], fresh: Iterator[Meaning], plan: Films, split: str, rng: Any
    ) -> list[int]:
        """Write the film and its captions; return at which frames it is cut, and T."""
        poses, said, frames, turns, ends = [], [], 0, 0, []
        path = self.folder / "films" / f"{self.name}.mp4"
        writer = FilmWriter(path, self.recipe, self.number) if self.draws else None
        seeds = rng.integers(2**31, size=len(pair))
        while frames < plan.seconds[split] * self.recipe.fps:
            who = turns % len(pair)
            count = int(rng.integers(plan.turn[0], plan.turn[1] + 1))
            film, spans = self._turn(pair[who], [next(fresh) for _ in range(count)], int(seeds[who]), plan, rng)
            if turns % 2:
                film, spans = trimmed(film, spans, round(plan.trim * self.recipe.fps))
            marks = {name: seen_marks(len(film.pose), self.recipe.noise, rng) for name in
                     ("face", "hand_l", "hand_r", "pose")}  # fmt: skip
            found = detected(film.pose, marks, self.recipe.noise, rng)
            if writer is not None:
                look = look_in(pair[who], self.number)
                writer.add(film, draw_crops(film, look, self.recipe, rng), found, marks, look)
            poses.append(found)
            said += [((frames + a) / self.recipe.fps, (frames + b) / self.recipe.fps, text) for a, b, text in spans]
            frames, turns = frames + len(found), turns + 1
            ends.append(frames)
        if writer is not None:
            writer.close()
        pose, file = np.concatenate(poses), self.folder / "pose" / f"{self.name}.npz"
        write_pose(file, pose, size=motion.PICTURE, seen=None, skeleton=MEDIAPIPE.name)
        write_srt(self.folder / "captions" / f"{self.name}.srt", said)
        return ends

    def _turn(
        self, signer: motion.Signer, meanings: Sequence[Meaning], camera: int, plan: Films, rng: Any
    ) -> tuple[motion.Film, list[tuple[int, int, str]]]:
        """Return a signer's sentences with pauses, and of each first frame, frame after the last, and text."""
        fps, parts, spans, now = self.recipe.fps, list[motion.Film](), list[tuple[int, int, str]](), 0
        for meaning in meanings:
            take = motion.film(signed(meaning), signer, fps=fps, rng=rng, camera=np.random.default_rng(camera))
            if parts:
                rest = rest_between(parts[-1], take, max(1, round(rng.uniform(*plan.pause) * fps)))
                parts.append(rest)
                now += len(rest.pose)
            parts.append(take)
            spans.append((now, now + len(take.pose), translate(meaning)))
            now += len(take.pose)
        whole = {name: np.concatenate([getattr(one, name) for one in parts]) for name in BY_FRAME}
        return motion.Film(**whole, spans=[]), spans


def rest_between(before: motion.Film, after: motion.Film, frames: int) -> motion.Film:
    """Return `frames` of a signer at rest, who goes over from the end of one take to the beginning of another."""
    share = motion.ease(np.arange(1, frames + 1) / (frames + 1))

    def blend(name: str) -> Floats:
        last, first = getattr(before, name)[-1], getattr(after, name)[0]
        way = share.reshape(-1, *[1] * last.ndim)
        return np.asarray((1 - way) * last + way * first)

    near = (share >= 0.5).astype(int)
    codes = {name: np.stack([getattr(before, name)[-1], getattr(after, name)[0]])[near]
             for name in ("handshape", "mouth", "brows")}  # fmt: skip
    mixed: dict[str, Any] = {name: blend(name) for name in BY_FRAME if name not in codes}
    return motion.Film(**mixed, **codes, spans=[])


def trimmed(
    film: motion.Film, spans: Sequence[tuple[int, int, str]], frames: int
) -> tuple[motion.Film, list[tuple[int, int, str]]]:
    """Return a film without its first and last `frames`, and its spans in it."""
    last = len(film.pose) - frames
    kept = {name: getattr(film, name)[frames:last] for name in BY_FRAME}
    inside = [(max(a - frames, 0), min(b, last) - frames, text) for a, b, text in spans]
    return motion.Film(**kept, spans=[]), inside
