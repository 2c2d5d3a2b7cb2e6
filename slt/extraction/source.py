"""One clip to extract, and what is wrong with a table, a caption or a film that clips come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slt.text import plain_name

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Fault:
    """A row of a table, or a film, that is not, or not quite, as it should be.

    Attributes:
        where: "meta.csv line 17", "film.srt cue 4", or the film's file name.
        video_id: "" where there is none.
        reason: what is wrong with it.
        dropped: True: not extracted; False: extracted and worth a look.
    """

    where: str
    video_id: str
    reason: str
    dropped: bool


@dataclass(frozen=True)
class Source:
    """One clip to extract.

    Attributes:
        video_id: the clip.
        path: film, folder of pictures, keypoints.h5 or .pose file; it may not be there: then the extraction fails this
            film by name.
        start: seconds in the film; None = its beginning.
        end: seconds in the film; None = its end.
        row: video_id, texto and further columns of subs.csv.
        box: where the signer is, x0, y0, x1, y1 in pixels of the upright picture; None = nobody said.
        person: whose key points are the signer's, where a file holds those of several people.
        mirrored: the film shows the signer as a mirror does, and its pictures are turned over when read.
        size: the picture's width and height in pixels, where the file does not say; None = it does.
        fps: frames a second, likewise.
        where: file and line of its caption, for messages.
    """

    video_id: str
    path: Path
    start: float | None
    end: float | None
    row: Mapping[str, str]
    box: Box | None = None
    person: int = 0
    mirrored: bool = False
    size: tuple[int, int] | None = None
    fps: float | None = None
    where: str = field(default="", compare=False)

    @property
    def film(self) -> str:
        """The plain name of what it is cut from."""
        return plain_name(self.path.name if self.path.is_dir() else self.path.stem)
