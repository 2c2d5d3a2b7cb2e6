"""What a viewer sees: the picture with boxes and landmarks, below it the running sentence and which stream is seen.

The sentence has a strip of its own under the picture, because signing hands are where subtitles would lie. H and W are
the film's height and width in pixels; lengths here are in pixels of what is drawn.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from slt.drawing.skeleton import parts
from slt.extraction.regions import STREAMS, Regions
from slt.inference.subtitles import Caption
from slt.streams.normalise import shoulders_seen
from slt.streams.pose import DETECTED, FOLLOWED
from slt.streams.skeleton import MEDIAPIPE, Skeleton, find_skeleton

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
Point = NDArray[np.floating]
Stroke = tuple[Point, Point, Colour, int]  # from, to, colour, thickness

# Small films are drawn larger, so that letters and thin lines are sharp; from 1080 on a film is drawn smaller.
LEAST_SIDE, MOST_SIDE = 480, 1080

# Okabe and Ito's colours, which colour-blind eyes tell apart; each box bears its name as well.
COLOURS: dict[str, Colour] = {
    "face": (240, 228, 66),
    "left_hand": (86, 180, 233),
    "right_hand": (230, 159, 0),
    "pose": (225, 225, 225),
}
MARKED = (*STREAMS, "pose")
SHORT = {"face": "face", "left_hand": "left", "right_hand": "right"}
WORDS = {0: "not seen", DETECTED: "seen", FOLLOWED: "by its arm"}
# Right of them stand time and pace; for these there is room.
LONGEST_RIGHT = ("1:00:00.0  signing", "100.0 frames/s, 100000 dropped")
GROUND, INK, FAINT, EDGE = (17, 19, 24), (255, 255, 255), (168, 174, 184), (0, 0, 0)
PLAIN, BOLD, ITALIC, MONO = (f"DejaVuSans{cut}.ttf" for cut in ("", "-Bold", "-Oblique", "Mono"))

# The pose gives every point a place; below this confidence it is a guess.
DRAWN = 0.3


@dataclass(frozen=True)
class Found:
    """What the extraction found in a frame."""

    points: NDArray[np.floating]  # (K, 3) of the pose stream: x, y in [0, 1] of the picture, confidence
    # Stream -> centre x, centre y, side in pixels of the picture; NaN where not seen.
    boxes: Mapping[str, NDArray[np.floating]]
    marks: Mapping[str, int]  # of `MARKED`: 0 not seen, `DETECTED` or `FOLLOWED`
    skeleton: Skeleton = MEDIAPIPE  # of the points

    @classmethod
    def of(cls, frame: Regions) -> Found:
        seen = int(shoulders_seen(frame.points[None])[0])
        skeleton = find_skeleton(frame.skeleton) if frame.skeleton else MEDIAPIPE
        return cls(frame.pose, frame.boxes, {name: frame.marks[name] for name in STREAMS} | {"pose": seen}, skeleton)


@dataclass(frozen=True)
class Text:
    """What is written below the picture, and the lines of a panel over its upper left corner."""

    sentence: str
    partial: bool  # signing goes on and the sentence may still change
    right: Sequence[str]  # lines at the right edge: time, frames a second
    panel: Sequence[str] = ()


def sentence_at(captions: Sequence[Caption], seconds: float) -> str:
    """Return the sentence on show at a second of a film, "" where there is none."""
    for caption in reversed(captions):
        if caption.start - 1e-6 <= seconds:
            return caption.shown if seconds < caption.end - 1e-6 else ""
    return ""


class Overlay:
    """Draws frames of one size (width, height), of a model that reads the streams `names`."""

    def __init__(self, size: tuple[int, int], names: Sequence[str]) -> None:
        self.source, self.names = size, list(names)
        side = min(size)
        scale = max(LEAST_SIDE / side, 1.0) if side < LEAST_SIDE else min(MOST_SIDE / side, 1.0)
        # yuv420p, which every player shows, halves both sides: they are even.
        self.width, self.height = (max(2, 2 * round(edge * scale / 2)) for edge in size)
        unit = self.width / 852
        self.line = max(1, round(1.6 * unit))
        self.sentence_size = round(np.clip(27 * unit, 18, 42))
        self.small_size = round(np.clip(15 * unit, 11, 24))
        self.margin = round(np.clip(14 * unit, 8, 24))
        self.sentence_height = round(2.75 * self.sentence_size)
        self._words = {
            name: {mark: word if name in self.names else f"{word}, unused" for mark, word in WORDS.items()}
            for name in MARKED
        }
        self._font, self._bold = _font(self.small_size, PLAIN), _font(self.small_size, BOLD)
        # Beside the marks where there is room for both at their longest, else below them in a row of its own.
        self.column, self.below = self._columns()
        rows = round((2.7 + 1.5 * self.below) * self.small_size)
        self.strip = 2 * ((self.sentence_height + rows + 2 * self.margin) // 2)
        self.size = self.width, self.height + self.strip  # of what is drawn; both are even
        once = functools.lru_cache(maxsize=1)  # most frames look like the one before
        self.sentence, self.marks, self.panel = once(self._sentence), once(self._marks), once(self._panel)

    def _columns(self) -> tuple[float, bool]:
        """Return the width of a stream's column, and whether the right lines get a row below."""
        room = self.width - 2 * self.margin
        needed = [self._bold.getlength(name) for name in MARKED]
        needed += [self._font.getlength(word) for words in self._words.values() for word in words.values()]
        column = 2.3 * self.small_size + max(needed)
        right = max(self._font.getlength(line) for line in LONGEST_RIGHT)
        return min(column, room / len(MARKED)), len(MARKED) * column + right > room

    def draw(self, picture: Picture, found: Found, text: Text) -> Picture:
        """Draw an RGB picture (H, W, 3) with what was found in it; return (height, width, 3) of `size`."""
        out = np.empty((self.size[1], self.width, 3), np.uint8)
        shown = out[: self.height]
        way = cv2.INTER_AREA if self.width < picture.shape[1] else cv2.INTER_CUBIC
        same = picture.shape[:2] == shown.shape[:2]
        shown[:] = picture if same else cv2.resize(picture, (self.width, self.height), interpolation=way)
        self._draw_pose(shown, found.points, found.skeleton)
        scale = (self.width / picture.shape[1], self.height / picture.shape[0])
        for name, box in found.boxes.items():
            if found.marks.get(name, 0) and np.isfinite(box).all():
                self._draw_box(shown, name, box, found.marks[name] == FOLLOWED, scale)
        if text.panel:
            part = shown[self.margin :, self.margin :]
            panel = self.panel(tuple(text.panel))[: part.shape[0], : part.shape[1]]
            part = part[: panel.shape[0], : panel.shape[1]]
            part[:] = cv2.addWeighted(panel, 0.8, part, 0.2, 0)
        half = self.height + self.margin + self.sentence_height
        out[self.height : half] = self.sentence(text.sentence, text.partial)
        out[half:] = self.marks(tuple(found.marks.get(name, 0) for name in MARKED))
        self._write_right(out[half:], tuple(text.right))
        return out

    # ------------------------------------------------------------ over the picture

    def _draw_pose(self, shown: Picture, points: NDArray[np.floating], skeleton: Skeleton) -> None:
        """Draw trunk, arms and fingers, and of a skeleton with a face its lips, eyes, brows, nose and contour."""
        places = np.nan_to_num(points[:, :2] * (self.width, self.height))
        least = np.zeros(len(points))
        least[list(skeleton.parts["body"])] = DRAWN
        there = points[:, 2] > least
        strokes = []
        for part in parts(skeleton):
            owner = "face" if part.name == "face" else "pose" if part.side == "body" else f"{part.side}_hand"
            colour = COLOURS[owner]
            # Fingers and lips thinner than arms, or they hide the hand and the mouth.
            thick = max(1, self.line - 1) if part.name in ("hand", "face") else self.line
            if part.name != "head":
                bones = (bone for bone in part.bones if there[list(bone)].all())
                strokes += [(places[a], places[b], colour, thick) for a, b in bones]
        _draw(shown, strokes)

    def _draw_box(
        self, shown: Picture, name: str, box: NDArray[np.floating], followed: bool, scale: tuple[float, float]
    ) -> None:
        """Draw a box, dashed where the hand was missed and its arm followed, with its name at a corner."""
        half = box[2] / 2
        x0, x1 = ((box[0] + side) * scale[0] for side in (-half, half))
        y0, y1 = ((box[1] + side) * scale[1] for side in (-half, half))
        sides = pairwise(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]))
        pieces = [piece for ends in sides for piece in (_dashes(*ends, 5 * self.line + 3) if followed else [ends])]
        _draw(shown, [(a.round(), b.round(), COLOURS[name], self.line) for a, b in pieces])
        tag = _tag(SHORT[name], COLOURS[name], max(11, self.small_size - 1))
        above = y0 - tag.shape[0] >= 0
        _paste(shown, tag, round(x0) - self.line, round(y0 - tag.shape[0]) if above else round(y1))

    def _panel(self, lines: tuple[str, ...]) -> Picture:
        font = _font(self.small_size, MONO)
        step = round(1.35 * self.small_size)
        width = round(max(font.getlength(line) for line in lines)) + 2 * self.margin
        patch, draw = _ground(width, step * len(lines) + self.margin)
        for n, line in enumerate(lines):
            draw.text((self.margin, self.margin // 2 + n * step), line, INK if n else FAINT, font)
        return np.asarray(patch)

    # ------------------------------------------------------------ below the picture

    def _sentence(self, sentence: str, partial: bool) -> Picture:
        """Write the sentence, in up to two lines; longer ones smaller, the longest in four."""
        patch, draw = _ground(self.width, self.margin + self.sentence_height)
        if not sentence:
            return np.asarray(patch)
        text = " ".join(sentence.split()) + ("\N{NO-BREAK SPACE}…" if partial else "")  # never alone on a line
        for size in range(self.sentence_size, 8, -1):
            font = _font(size, ITALIC if partial else PLAIN)
            lines = _wrap(text, font, self.width - 2 * self.margin)
            if len(lines) * 1.25 * size <= self.sentence_height:
                break
        else:  # cut at its beginning: what comes last is what is being signed
            lines = lines[-int(self.sentence_height // (1.25 * size)) :]
            lines[0] = f"… {lines[0]}"
        top = self.margin + (self.sentence_height - 1.25 * size * len(lines)) / 2
        for n, line in enumerate(lines):
            place = (self.width / 2, top + (n + 0.5) * 1.25 * size)
            draw.text(place, line, FAINT if partial else INK, font, anchor="mm")
        return np.asarray(patch)

    def _marks(self, marks: tuple[int, ...]) -> Picture:
        """Write for each stream its name and whether it is seen: by a full, half or empty disc, and in words."""
        patch, draw = _ground(self.width, self.strip - self.margin - self.sentence_height)
        small = self.small_size
        y, radius = small * 0.6, 0.42 * small
        for n, (name, mark) in enumerate(zip(MARKED, marks, strict=True)):
            x, colour = self.margin + n * self.column + 0.5 * small, COLOURS[name]
            around = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(around, outline=colour if mark else FAINT, width=max(1, self.line))
            if mark == DETECTED:
                draw.ellipse(around, fill=colour)
            elif mark == FOLLOWED:
                draw.pieslice(around, 90, 270, fill=colour)
            left = x + 0.8 * small
            draw.text((left, y), name.replace("_", " "), INK, self._bold, anchor="lm")
            draw.text((left, y + 1.3 * small), self._words[name][mark], FAINT, self._font, anchor="lm")
        return np.asarray(patch)

    def _write_right(self, strip: Picture, lines: tuple[str, ...]) -> None:
        """Write the lines of the right edge; they change with every frame, and only their own patch is drawn anew."""
        if not lines:
            return
        small = self.small_size
        if self.below:
            lines = ("    ".join(lines),)
        width = min(round(max(self._font.getlength(line) for line in lines)) + 2, self.width - 2 * self.margin)
        top = round(2.8 * small) if self.below else 0
        patch, draw = _ground(width, strip.shape[0] - top)
        for n, line in enumerate(lines[:2]):
            draw.text((width, small * 0.6 + n * 1.3 * small), line, FAINT if n else INK, self._font, anchor="rm")
        _paste(strip, np.asarray(patch), self.width - self.margin - width, top)


@functools.lru_cache(maxsize=64)
def _font(size: int, name: str) -> ImageFont.FreeTypeFont:
    """Return a font that has ñ á ¿ wherever this runs: it comes with matplotlib."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


@functools.lru_cache(maxsize=16)
def _tag(word: str, colour: Colour, size: int) -> Picture:
    font = _font(size, BOLD)
    patch, draw = _ground(round(font.getlength(word)) + 8, round(1.35 * size), colour)
    draw.text((4, round(1.35 * size) / 2), word, GROUND, font, anchor="lm")
    return np.asarray(patch)


def _ground(width: int, height: int, colour: Colour = GROUND) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    patch = Image.new("RGB", (width, height), colour)
    return patch, ImageDraw.Draw(patch)


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


def _draw(shown: Picture, strokes: Iterable[Stroke]) -> None:
    """Draw lines in sixteenths of a pixel, dark below and bright above: seen on any ground."""
    placed = [(*((16 * end).round().astype(int).tolist() for end in (a, b)), *how) for a, b, *how in strokes]
    for wider in (2, 0):
        for a, b, colour, thick in placed:
            cv2.line(shown, a, b, EDGE if wider else colour, thick + wider, cv2.LINE_AA, 4)


def _dashes(begin: Point, end: Point, length: int) -> list[tuple[Point, Point]]:
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
