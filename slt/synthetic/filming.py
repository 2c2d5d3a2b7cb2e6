"""One clip of the embedded corpus at a time: who signs what in which film, drawn, detected and written (T frames)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slt.files import write_json
from slt.streams.arrays import write_pose
from slt.streams.packed import write_packed
from slt.streams.skeleton import MEDIAPIPE
from slt.synthetic import drawing, motion
from slt.synthetic.grammar import GRAMMARS, Meaning, sentences, signed
from slt.synthetic.lexicon import lexicon

GENERATOR = 5  # counted up whenever the same parameters give another corpus
SPLITS = ("train", "val", "test")
_FILMS = 6  # films a signer has recorded, each with its own clothes, wall and light


@dataclass(frozen=True)
class Noise:
    """What the imagined camera and detector get wrong."""

    jitter: float  # standard deviation of a landmark, as a share of the picture's height
    missed: float  # chance that a detector loses a hand, the face or the body in a frame in which it had it
    burst: float  # frames it then stays lost, on average
    grain: float  # sensor noise of the crops in grey levels


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides every byte of a corpus."""

    generator: int = field(default=GENERATOR, init=False)
    size: str  # lexicon and grammar, "default" or "hard"
    seed: int
    clips: dict[str, int]  # by split; no two of a corpus have the same sentence
    signers: dict[str, int]  # by split; none is in two
    left_handed: float  # share of signers (at least one of each split that has three signers or more, if not 0)
    fps: float
    crop_size: int  # side R of the crops in pixels
    encoding: str  # as in `write_packed`
    quality: int  # as in `write_packed`
    noise: Noise

    def __post_init__(self) -> None:
        for key, counts in (("clips", self.clips), ("signers", self.signers)):
            if set(counts) != set(SPLITS) or min(counts.values()) < 1:
                raise ValueError(f"{key}: a number of at least 1 for each of train, val and test, came {counts}")
        if not 0 <= self.left_handed <= 1:
            raise ValueError(f"left_handed={self.left_handed}: a share of the signers, 0 to 1")
        if not 16 <= self.crop_size <= 512:
            raise ValueError(f"crop_size={self.crop_size}: 16 to 512 pixels")
        if self.encoding not in ("raw", "jpeg"):
            raise ValueError(f"encoding={self.encoding!r}: 'raw' or 'jpeg'")
        if min(astuple(self.noise)) < 0:
            raise ValueError(f"noise: each 0 or more, came {self.noise}")


@dataclass(frozen=True)
class Clip:
    """What is needed to make one clip; `seed` makes it the same whoever makes it and when."""

    name: str
    split: str
    meaning: Meaning
    signer: motion.Signer
    film: int
    seed: tuple[int, ...]


def plan(recipe: Recipe) -> list[Clip]:
    """Return the clips of a corpus, split after split: every sentence goes to a signer of its split in one film."""
    signs, grammar = lexicon(recipe.size), GRAMMARS[recipe.size]
    drawn = sentences(signs, grammar, np.random.default_rng([recipe.seed, 0]), sum(recipe.clips.values()))
    meanings, signers = iter(drawn), cast(recipe)
    rng = np.random.default_rng([recipe.seed, 2])
    clips: list[Clip] = []
    for split in SPLITS:
        for number in range(recipe.clips[split]):
            signer, film = signers[split][rng.integers(len(signers[split]))], int(rng.integers(_FILMS))
            seed = (recipe.seed, 3, len(clips))
            clips.append(Clip(f"{split}_{number:05d}", split, next(meanings), signer, film, seed))
    return clips


def cast(recipe: Recipe) -> dict[str, list[motion.Signer]]:
    """Return the signers of every split."""
    rng = np.random.default_rng([recipe.seed, 1])
    signers = {}
    for split in SPLITS:
        count = recipe.signers[split]
        lefts = max(round(recipe.left_handed * count), int(recipe.left_handed > 0 and count >= 3))
        signers[split] = [
            motion.Signer.draw(f"{split}_signer{place:02d}", left_handed=place < lefts, rng=rng)
            for place in range(count)
        ]
    return signers


def write_clip(clip: Clip, folder: Path, recipe: Recipe, extractor: str) -> tuple[dict[str, Any], str]:
    """Draw one clip, write its crops, pose and labels; return its row of metadata.jsonl, and its pieces."""
    rng, noise = np.random.default_rng(clip.seed), recipe.noise
    film = motion.film(signed(clip.meaning), clip.signer, fps=recipe.fps, rng=rng)
    frames = len(film.pose)
    seen = {name: seen_marks(frames, noise, rng) for name in ("face", "hand_l", "hand_r", "pose")}
    crops = draw_crops(film, look_in(clip.signer, clip.film), recipe, rng)
    packing: dict[str, Any] = {"encoding": recipe.encoding, "quality": recipe.quality, "extractor": extractor}
    for name, pictures in crops.items():
        write_packed(folder / name / f"{clip.name}.safetensors", pictures, seen[name], **packing)
    pose = detected(film.pose, seen, noise, rng)
    write_pose(folder / "pose" / f"{clip.name}.npz", pose, size=motion.PICTURE, seen=None, skeleton=MEDIAPIPE.name)
    write_json(folder / "labels" / f"{clip.name}.json", _labels(clip, film))
    shares = {name: round(float(marks.mean()), 4) for name, marks in seen.items()}
    facts = {"video_id": clip.name, "extractor": "slt.synthetic", "version": GENERATOR, "fingerprint": extractor}
    return facts | {"fps": recipe.fps, "frames": frames, "seen": shares}, _pieces(clip, film)


def look_in(signer: motion.Signer, film: int) -> drawing.Look:
    """Return how a signer looks in one of their films."""
    return drawing.Look.draw(signer.look, np.random.default_rng([signer.look, film]))


def draw_crops(
    film: motion.Film, look: drawing.Look, recipe: Recipe, rng: np.random.Generator
) -> dict[str, NDArray[np.uint8]]:
    """Return the crops of a film by folder, RGB (T, R, R, 3)."""
    how: dict[str, Any] = {"size": recipe.crop_size, "grain": recipe.noise.grain, "rng": rng}
    return {
        "face": drawing.draw_faces(film.mouth_mix, film.brows_mix, look, **how),
        "hand_l": drawing.draw_hands(film.hands[:, 0], look, left=True, **how),
        "hand_r": drawing.draw_hands(film.hands[:, 1], look, left=False, **how),
    }


def seen_marks(frames: int, noise: Noise, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return seen marks (T,): a detector that loses its object keeps it lost for a while."""
    marks = np.ones(frames, bool)
    starts = np.flatnonzero(rng.random(frames) < noise.missed)
    for start, length in zip(starts, rng.geometric(1 / max(noise.burst, 1), len(starts)), strict=True):
        marks[start : start + length] = False
    return marks


def detected(
    pose: NDArray[np.float64], seen: Mapping[str, NDArray[np.bool_]], noise: Noise, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the landmarks (T, 75, 3) a detector would give for the true ones (T, 75, 2), with confidences."""
    width, height = motion.PICTURE
    found = pose + rng.normal(0, noise.jitter, pose.shape) * (height / width, 1)
    confidence = np.clip(1 - rng.gamma(2.0, 0.03, pose.shape[:2]), 0.3, 1)
    confidence *= ((found >= 0) & (found <= 1)).all(-1)  # a point outside the picture is not detected
    for points, name in ((slice(0, 33), "pose"), (slice(33, 54), "hand_l"), (slice(54, 75), "hand_r")):
        confidence[:, points] *= seen[name][:, None]
    found = np.where(confidence[..., None] > 0, found, 0)
    return np.concatenate([found, confidence[..., None]], -1).astype(np.float32)


def _pieces(clip: Clip, film: motion.Film) -> str:
    """Return where its signs are, as `slt.corpora.stitching` reads it: signs of one name look alike, the face too."""
    signs = zip(signed(clip.meaning), film.spans, strict=True)
    return " ".join(f"{one.sign.gloss}/{one.mouth}/{one.brows}:{first}-{last}" for one, (first, last) in signs)


def _labels(clip: Clip, film: motion.Film) -> dict[str, Any]:
    """Return what is true of a clip: its signs with first and last frame, and the codes of every frame."""
    signs = [
        {"sign": one.sign.gloss, "mouth": one.mouth, "brows": one.brows, "first": first, "last": last}
        for one, (first, last) in zip(signed(clip.meaning), film.spans, strict=True)
    ]
    left, right = film.handshape.T.tolist()
    return {"signs": signs, "hand_l": left, "hand_r": right, "mouth": film.mouth.tolist(), "brows": film.brows.tolist()}
