"""One clip to extract, its row in a table and its film, and what is wrong with a table, a row or a film."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slt.text import plain_name

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Fault:
    """A row of a table, or a film, that is not, or not quite, as it should be."""

    where: str  # "meta.csv line 17", "film.srt cue 4", or the film's file name
    video_id: str  # "" where there is none
    reason: str
    dropped: bool = False  # True: not extracted; False: extracted and worth a look


@dataclass(frozen=True)
class Source:
    """One clip to extract: what its table of captions says of it, and, once it is found, where its film is."""

    video_id: str
    # Film, folder of pictures, keypoints.h5, .pose or .json files; it may not be there: then the clip fails by name.
    path: Path = Path()
    start: float | None = None  # seconds in the film; None = its beginning
    end: float | None = None  # likewise; None = its end
    text: str = ""
    video: str = ""  # the film's name in a table of cuts; "" = a whole film, which has the clip's name
    columns: Mapping[str, str] = field(default_factory=dict)  # that a corpus keeps, such as gloss and signer
    person: int = 0  # whose key points are the signer's, where a file holds those of several people
    box: Box | None = None  # where the signer is, x0, y0, x1, y1 in pixels of the upright picture; None = nobody said
    mirrored: bool = False  # the film shows the signer as a mirror does, and its pictures are turned over when read
    size: tuple[int, int] | None = None  # the picture's width and height in pixels, where the file does not say
    fps: float | None = None  # frames a second, likewise
    where: str = field(default="", compare=False)  # file and line of its caption, for messages

    @property
    def row(self) -> dict[str, Any]:
        row = {"video_id": self.video_id, "texto": self.text, **self.columns}
        times = {key: "" if time is None else time for key, time in (("start", self.start), ("end", self.end))}
        return {**row, "video": self.video, **times} if self.video else row

    @property
    def film(self) -> str:
        """The plain name of the file or folder that it is cut from."""
        return plain_name(self.path.name if self.path.is_dir() else self.path.stem)
