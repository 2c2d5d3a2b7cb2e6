"""What a viewer sees: the picture with boxes and landmarks, below it the running sentence and which stream is seen.

The sentence has a strip of its own under the picture, because signing hands are where subtitles would lie. H and W are
the film's height and width in pixels; lengths here are in pixels of what is drawn.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from slt.drawing.skeleton import parts
from slt.inference.subtitles import Caption, clock
from slt.streams.pose import BODY, DETECTED, FOLLOWED
from slt.streams.skeleton import MEDIAPIPE

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Small films are drawn larger, so that letters and thin lines are sharp; from 1080 on a film is drawn smaller.
LEAST_SIDE, MOST_SIDE = 480, 1080

# Okabe and Ito's colours, which colour-blind eyes tell apart; each box bears its name as well.
COLOURS: dict[str, Colour] = {
    "face": (240, 228, 66),
    "left_hand": (86, 180, 233),
    "right_hand": (230, 159, 0),
    "pose": (225, 225, 225),
}
SHORT = {"face": "face", "left_hand": "left", "right_hand": "right"}
WORDS = {0: "not seen", DETECTED: "seen", FOLLOWED: "by its arm"}
# Right of them stand time and pace; for these there is room.
LONGEST_RIGHT = ("1:00:00.0  signing", "100.0 frames/s, 100000 dropped")
GROUND, INK, FAINT, EDGE = (17, 19, 24), (255, 255, 255), (168, 174, 184), (0, 0, 0)

# The pose gives every point a place; below this confidence it is a guess.
DRAWN = 0.3


@dataclass(frozen=True)
class Found:
    """What the extraction found in a frame.

    Attributes:
        points: (75, 3): x, y in [0, 1] of the picture, confidence.
        boxes: stream -> centre x, centre y, side in pixels of the picture; NaN where not seen.
        marks: stream -> 0 not seen, `DETECTED` or `FOLLOWED`.
    """

    points: NDArray[np.floating]
    boxes: Mapping[str, NDArray[np.floating]]
    marks: Mapping[str, int]


@dataclass(frozen=True)
class Text:
    """What is written below the picture.

    Attributes:
        sentence: the running one; "" where there is none.
        partial: signing goes on and the sentence may still change.
        right: lines at the right edge: time, frames a second.
        panel: lines over the picture's upper left corner; none = no panel.
    """

    sentence: str
    partial: bool
    right: Sequence[str]
    panel: Sequence[str] = ()


def sentence_at(captions: Sequence[Caption], seconds: float) -> str:
    """Return the sentence on show at a second of a film, "" where there is none."""
    for caption in reversed(captions):
        if caption.start - 1e-6 <= seconds:
            return caption.text if seconds < caption.end - 1e-6 else ""
    return ""


class Overlay:
    """Draws frames of one size.

    Args:
        size: width and height of the pictures.
        streams: whose marks are shown, in this order.
        names: streams the model reads; others are drawn, and said to be unused.
    """

    def __init__(self, size: tuple[int, int], streams: Sequence[str], names: Sequence[str]) -> None:
        side = min(size)
        self.scale = max(LEAST_SIDE / side, 1.0) if side < LEAST_SIDE else min(MOST_SIDE / side, 1.0)
        # yuv420p, which every player shows, halves both sides: they are even.
        self.width, self.height = (max(2, 2 * round(edge * self.scale / 2)) for edge in size)
        self.streams, self.names = list(streams), list(names)
        unit = self.width / 852
        self.line = max(1, round(1.6 * unit))
        self.sentence_size = round(np.clip(27 * unit, 18, 42))
        self.small_size = round(np.clip(15 * unit, 11, 24))
        self.margin = round(np.clip(14 * unit, 8, 24))
        self.sentence_height = round(2.75 * self.sentence_size)
        # Beside the marks where there is room for both at their longest, else below them in a row of its own.
        self.column, self.below = self._columns()
        rows = round((2.7 + 1.5 * self.below) * self.small_size)
        self.strip = 2 * ((self.sentence_height + rows + 2 * self.margin) // 2)
        self._patches: dict[object, Picture] = {}

    def _columns(self) -> tuple[float, bool]:
        """Return the width of a stream's column, and whether the right lines get a row below."""
        room = self.width - 2 * self.margin
        bold, plain = (_font(self.small_size, f"DejaVuSans{cut}.ttf") for cut in ("-Bold", ""))
        needed = [bold.getlength(name) for name in self.streams]
        needed += [plain.getlength(self._word(name, mark)) for name in self.streams for mark in WORDS]
        column = 2.3 * self.small_size + max(needed, default=0.0)
        right = max(plain.getlength(line) for line in LONGEST_RIGHT)
        below = len(self.streams) * column + right > room
        return min(column, room / max(len(self.streams), 1)), below

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of what is drawn; both are even."""
        return self.width, self.height + self.strip

    def draw(self, picture: Picture, found: Found, text: Text) -> Picture:
        """Draw an RGB picture (H, W, 3) with what was found in it; return (height, width, 3) of `size`."""
        out = np.empty((self.height + self.strip, self.width, 3), np.uint8)
        smaller = self.width < picture.shape[1]
        way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        shown = out[: self.height]
        if picture.shape[:2] == shown.shape[:2]:
            shown[:] = picture
        else:
            shown[:] = cv2.resize(picture, (self.width, self.height), interpolation=way)
        self._draw_pose(shown, found.points)
        scale = (self.width / picture.shape[1], self.height / picture.shape[0])
        for name, box in found.boxes.items():
            if found.marks.get(name, 0) and np.isfinite(box).all():
                self._draw_box(shown, name, box, found.marks[name] == FOLLOWED, scale)
        if text.panel:
            _blend(shown, self._panel(tuple(text.panel)), self.margin, self.margin)
        half = self.height + self.margin + self.sentence_height
        out[self.height : half] = self._cached("sentence", self._sentence, text.sentence, text.partial)
        marks = tuple(found.marks.get(name, 0) for name in self.streams)
        out[half:] = self._cached("marks", self._marks, marks)
        self._write_right(out[half:], tuple(text.right))
        return out

    def _cached(self, name: str, make: object, *key: object) -> Picture:
        """Return a patch as it was made last, where nothing in it has changed: most frames look like the one before."""
        if self._patches.get((name, "key")) != key:
            self._patches[name, "key"] = key  # type: ignore[assignment]
            self._patches[name] = make(*key)  # type: ignore[operator]
        return self._patches[name]

    # ------------------------------------------------------------ over the picture

    def _draw_pose(self, shown: Picture, points: NDArray[np.floating]) -> None:
        """Draw trunk, arms and fingers in sixteenths of a pixel, dark below and bright above: seen on any ground."""
        places = np.nan_to_num(points[:, :2] * (self.width, self.height) * 16).round().astype(int)
        there = points[:, 2] > np.where(np.arange(len(points)) < BODY, DRAWN, 0)
        strokes = []
        for part in parts(MEDIAPIPE):
            colour = COLOURS["pose" if part.side == "body" else f"{part.side}_hand"]
            # Fingers thinner than arms, or they hide the hand.
            thick = max(1, self.line - 1) if part.name == "hand" else self.line
            if part.name != "head":
                strokes += [(bone, colour, thick) for bone in part.bones if there[list(bone)].all()]
        for wider in (2, 0):
            for (a, b), colour, thick in strokes:
                cv2.line(shown, places[a].tolist(), places[b].tolist(), EDGE if wider else colour, thick + wider,
                         cv2.LINE_AA, 4)  # fmt: skip

    def _draw_box(
        self, shown: Picture, name: str, box: NDArray[np.floating], followed: bool, scale: tuple[float, float]
    ) -> None:
        """Draw a box, dashed where the hand was missed and its arm followed, with its name at a corner."""
        half = box[2] / 2
        x0, x1 = ((box[0] + side) * scale[0] for side in (-half, half))
        y0, y1 = ((box[1] + side) * scale[1] for side in (-half, half))
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])
        for colour, wider in ((EDGE, 2), (COLOURS[name], 0)):
            for begin, end in pairwise(corners):
                for a, b in _dashes(begin, end, 5 * self.line + 3) if followed else [(begin, end)]:
                    cv2.line(shown, a.round().astype(int).tolist(), b.round().astype(int).tolist(), colour,
                             self.line + wider, cv2.LINE_AA)  # fmt: skip
        tag = _tag(SHORT[name], COLOURS[name], max(11, self.small_size - 1))
        above = y0 - tag.shape[0] >= 0
        _paste(shown, tag, round(x0) - self.line, round(y0 - tag.shape[0]) if above else round(y1))

    def _panel(self, lines: tuple[str, ...]) -> tuple[Picture, float]:
        def make(*lines: str) -> Picture:
            font = _font(self.small_size, "DejaVuSansMono.ttf")
            step = round(1.35 * self.small_size)
            width = round(max(font.getlength(line) for line in lines)) + 2 * self.margin
            patch = Image.new("RGB", (width, step * len(lines) + self.margin), GROUND)
            draw = ImageDraw.Draw(patch)
            for n, line in enumerate(lines):
                draw.text((self.margin, self.margin // 2 + n * step), line, INK if n else FAINT, font)
            return np.asarray(patch)

        return self._cached("panel", make, *lines), 0.8

    # ------------------------------------------------------------ below the picture

    def _sentence(self, sentence: str, partial: bool) -> Picture:
        """Write the sentence, in up to two lines; longer ones smaller, the longest in four."""
        patch = Image.new("RGB", (self.width, self.margin + self.sentence_height), GROUND)
        if not sentence:
            return np.asarray(patch)
        name = "DejaVuSans-Oblique.ttf" if partial else "DejaVuSans.ttf"
        room = self.width - 2 * self.margin
        text = " ".join(sentence.split()) + ("\N{NO-BREAK SPACE}…" if partial else "")  # never alone on a line
        for size in range(self.sentence_size, 8, -1):
            font = _font(size, name)
            lines = _wrap(text, font, room)
            if len(lines) * 1.25 * size <= self.sentence_height:
                break
        else:  # cut at its beginning: what comes last is what is being signed
            lines = lines[-int(self.sentence_height // (1.25 * size)) :]
            lines[0] = f"… {lines[0]}"
        draw = ImageDraw.Draw(patch)
        top = self.margin + (self.sentence_height - 1.25 * size * len(lines)) / 2
        for n, line in enumerate(lines):
            place = (self.width / 2, top + (n + 0.5) * 1.25 * size)
            draw.text(place, line, FAINT if partial else INK, font, anchor="mm")
        return np.asarray(patch)

    def _marks(self, marks: tuple[int, ...]) -> Picture:
        """Write for each stream its name and whether it is seen: by a full, half or empty disc, and in words."""
        patch = Image.new("RGB", (self.width, self.size[1] - self.height - self.margin - self.sentence_height), GROUND)
        draw = ImageDraw.Draw(patch)
        small = self.small_size
        for n, (name, mark) in enumerate(zip(self.streams, marks, strict=True)):
            x, y = self.margin + n * self.column, small * 0.6
            self._disc(draw, x + 0.5 * small, y, 0.42 * small, mark, COLOURS[name])
            left = x + 1.3 * small
            draw.text((left, y), name.replace("_", " "), INK, _font(small, "DejaVuSans-Bold.ttf"), anchor="lm")
            draw.text(
                (left, y + 1.3 * small), self._word(name, mark), FAINT, _font(small, "DejaVuSans.ttf"), anchor="lm"
            )
        return np.asarray(patch)

    def _word(self, name: str, mark: int) -> str:
        return WORDS[mark] if name in self.names else f"{WORDS[mark]}, unused"

    def _disc(self, draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, mark: int, colour: Colour) -> None:
        around = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(around, outline=colour if mark else FAINT, width=max(1, self.line), fill=None)
        if mark == DETECTED:
            draw.ellipse(around, fill=colour)
        elif mark == FOLLOWED:
            draw.pieslice(around, 90, 270, fill=colour)

    def _write_right(self, strip: Picture, lines: tuple[str, ...]) -> None:
        """Write the lines of the right edge; they change with every frame, and only their own patch is drawn anew."""
        if not lines:
            return
        small = self.small_size
        font = _font(small, "DejaVuSans.ttf")
        if self.below:
            lines = ("    ".join(lines),)
        width = min(round(max(font.getlength(line) for line in lines)) + 2, self.width - 2 * self.margin)
        top = round(2.8 * small) if self.below else 0
        patch = Image.new("RGB", (width, strip.shape[0] - top), GROUND)
        draw = ImageDraw.Draw(patch)
        for n, line in enumerate(lines[:2]):
            draw.text((width, small * 0.6 + n * 1.3 * small), line, INK if n == 0 else FAINT, font, anchor="rm")
        _paste(strip, np.asarray(patch), self.width - self.margin - width, top)


def film_text(sentence: str, seconds: float, duration: float) -> Text:
    """Return what is written below a frame of a film that is not live."""
    return Text(sentence, partial=False, right=(clock(seconds), f"of {clock(duration)}"))


@functools.lru_cache(maxsize=64)
def _font(size: int, name: str) -> ImageFont.FreeTypeFont:
    """Return a font that has ñ á ¿ wherever this runs: it comes with matplotlib."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


@functools.lru_cache(maxsize=16)
def _tag(word: str, colour: Colour, size: int) -> Picture:
    font = _font(size, "DejaVuSans-Bold.ttf")
    patch = Image.new("RGB", (round(font.getlength(word)) + 8, round(1.35 * size)), colour)
    ImageDraw.Draw(patch).text((4, patch.height / 2), word, GROUND, font, anchor="lm")
    return np.asarray(patch)


def _wrap(text: str, font: ImageFont.FreeTypeFont, room: float) -> list[str]:
    """Break a sentence into lines no wider than `room`; a word that is wider alone is broken too."""
    lines: list[str] = []
    for word in filter(None, text.split(" ")):
        if lines and font.getlength(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
            continue
        while len(word) > 1 and font.getlength(word) > room:
            fits = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or font.getlength(word[:n]) <= room)
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return lines


def _dashes(
    begin: NDArray[np.floating], end: NDArray[np.floating], length: int
) -> list[tuple[NDArray[np.floating], NDArray[np.floating]]]:
    count = max(1, int(np.linalg.norm(end - begin) / (2 * length)))
    step = (end - begin) / (2 * count)
    return [(begin + (2 * n + 0.5) * step, begin + (2 * n + 1.5) * step) for n in range(count)]


def _paste(ground: Picture, patch: Picture, x: int, y: int) -> None:
    """Put a patch where it lies within the ground."""
    height, width = ground.shape[:2]
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + patch.shape[1], width), min(y + patch.shape[0], height)
    if x1 > x0 and y1 > y0:
        ground[y0:y1, x0:x1] = patch[y0 - y : y1 - y, x0 - x : x1 - x]


def _blend(ground: Picture, panel: tuple[Picture, float], x: int, y: int) -> None:
    patch, share = panel
    part = ground[y : y + patch.shape[0], x : x + patch.shape[1]]
    patch = patch[: part.shape[0], : part.shape[1]]
    part[:] = cv2.addWeighted(patch, share, part, 1 - share, 0)
