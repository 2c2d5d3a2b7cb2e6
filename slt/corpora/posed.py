"""Whole films as poses, with their captions: what segmenters learn from and captions are aligned to (T frames)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slt.corpora import layout
from slt.corpora.cues import FORMATS, plain_text
from slt.corpora.eaf import read_eaf
from slt.corpora.films import read_subtitles
from slt.streams.arrays import read_pose
from slt.streams.skeleton import BODY, HAND
from slt.text import clean

SPLITS = layout.SPLITS
Line = tuple[float, float, str]  # start and end in seconds, text


@dataclass(frozen=True)
class PosedFilm:
    """A film that was extracted whole."""

    name: str
    points: NDArray[np.float32]  # (T, 75, 3), as `PoseClip`
    size: tuple[int, int]  # of the picture
    fps: float
    cuts: tuple[int, ...]  # frames that begin another shot, where that is known
    captions: list[Line]  # in the order of time


class PosedFilms:
    """A folder of whole films, `pose/NAME.npz` and `metadata.jsonl`, as slt.extract makes it with captions.format=none.

    Args:
        root: the folder.
        captions: folder with NAME.srt, NAME.vtt or NAME.eaf for each film; None = `captions` in the root.
        tier: of sentences, in .eaf files.
    """

    def __init__(self, root: Path, *, captions: Path | None, tier: str | None) -> None:
        self.root, self.captions, self.tier = root, captions or root / "captions", tier
        self.about = {str(row.get("video_id")): row for _, row, fault in layout.metadata_rows(root / "metadata.jsonl")
                      if not fault}  # fmt: skip
        self.names = sorted(path.stem for path in (root / "pose").glob("*.npz"))
        if not self.names:
            raise FileNotFoundError(
                f"root={root}: no film in pose/; expected whole films as slt.extract source=FILMS out={root} "
                "captions.format=none extracts them"
            )

    def split(self, split: str) -> Iterator[PosedFilm]:
        """Give the films of a split, one in memory at a time."""
        index = self.root / "index" / f"{split}.csv"
        if not index.is_file():
            raise FileNotFoundError(
                f"{index}: no such list of films; expected one of each split, as slt.extract writes"
            )
        names = layout.read_index(index)
        yield from map(self.film, names)

    def film(self, name: str) -> PosedFilm:
        """Read a film and its captions; ValueError where its points are others than MediaPipe's 75."""
        path = self.root / "pose" / f"{name}.npz"
        clip, about = read_pose(path), self.about.get(name, {})
        if clip.points.shape[1] != BODY + 2 * HAND:
            raise ValueError(f"{path}: the 75 points of body and hands expected, came {clip.points.shape[1]}; extract "
                             "with points=body_hands")  # fmt: skip
        fps = about.get("fps")
        if not isinstance(fps, int | float) or not fps > 0:
            raise ValueError(f"{self.root / 'metadata.jsonl'}: no `fps` of {name!r}; extract it anew")
        return PosedFilm(name, clip.points, clip.size, float(fps), tuple(about.get("cuts", ())), self.lines(name))

    def lines(self, name: str) -> list[Line]:
        """Read the captions of a film."""
        return sorted(read_lines(self._file(name), self.tier))

    def _file(self, name: str) -> Path:
        for kind in (*FORMATS, "eaf"):
            if (path := self.captions / f"{name}.{kind}").is_file():
                return path
        raise FileNotFoundError(f"{self.captions}: no {name}.srt, .vtt or .eaf; give their folder as captions=FOLDER")


def read_lines(path: Path, tier: str | None = None) -> list[Line]:
    """Return the captions of a .srt, .vtt or .eaf file that have a text; of the last kind those of `tier`."""
    if path.suffix.lower() != ".eaf":
        cues, *_ = read_subtitles(path)
        return [(cue.start, cue.end, clean(plain_text("\n".join(cue.lines)))) for cue in cues]
    tiers = {name: spans for (name, _), spans in read_eaf(path).items()}
    if tier not in tiers:
        raise ValueError(f"{path}: tier={tier}: expected one of {', '.join(tiers)}")
    return [(span.start, span.end, clean(span.value)) for span in tiers[tier] if span.value.strip()]
