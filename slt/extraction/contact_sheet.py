"""A clip at a glance: n frames of its film with landmarks and boxes, under each the crops cut from it (side R)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from slt.drawing.skeleton import COLOURS, draw_skeleton
from slt.drawing.strip import FINE, INK, PAPER, STRIPE, hatched
from slt.extraction.geometry import Box, Picture
from slt.streams.pose import DETECTED, FOLLOWED, NOT_SEEN
from slt.streams.skeleton import Skeleton

CELL, GAP, MARGIN, LINE, CROP_GAP = 234, 8, 6, 16, 3  # pixels
TALLEST = 240  # of a film's picture; a wider one is less high
WORDS = {NOT_SEEN: "not seen", DETECTED: "seen", FOLLOWED: "followed"}
THIN = 2  # of the pixels that are reduced by FINE: the film should stay visible under its landmarks
TAG = (10 * FINE, 11 * FINE)  # of the same pixels
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True)
class Moment:
    """One frame of a clip; crops, marks and boxes by stream."""

    title: str  # what stands above it: its time and number
    film: Picture | None  # RGB uint8 (H, W, 3); None where the film is not there
    points: NDArray[np.float32]  # (K, 3): x, y as shares of the picture, confidence; 0 = not detected
    skeleton: Skeleton  # of the points
    crops: Mapping[str, Picture]  # RGB uint8 (R, R, 3)
    marks: Mapping[str, int]  # NOT_SEEN, DETECTED or FOLLOWED
    boxes: Mapping[str, Sequence[float]]  # centre x, centre y, side in pixels of the film's picture


def draw_sheet(moments: Sequence[Moment], *, size: tuple[int, int], signer: Box | None) -> Picture:
    """Draw moments of a film of a `size` (width, height) side by side; return RGB uint8 (H, W, 3).

    All is told apart without colour too. `signer` is where the signer was looked for; None = everywhere.
    """
    scale = min(CELL / size[0], TALLEST / size[1])
    shown = (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1))
    crop = _crop_side(len(moments[0].crops))
    under = 2 * LINE + crop + 2 if moments[0].crops else 0
    height = LINE + shown[1] + under
    sheet = Image.new("RGB", (len(moments) * (CELL + GAP) - GAP + 2 * MARGIN, height + 2 * MARGIN), PAPER)
    for place, moment in enumerate(moments):
        x, y = MARGIN + place * (CELL + GAP), MARGIN
        _write(sheet, (x + CELL // 2, y), moment.title, 12)
        sheet.paste(_film(moment, size, shown, signer), (x + (CELL - shown[0]) // 2, y + LINE))
        for column, stream in enumerate(moment.crops):
            left = x + column * (crop + CROP_GAP)
            top = y + LINE + shown[1] + 2
            _write(sheet, (left + crop // 2, top), stream.replace("_hand", "").replace("_", " "), 11)
            sheet.paste(_crop(moment.crops[stream], moment.marks[stream], crop), (left, top + LINE))
            _write(sheet, (left + crop // 2, top + LINE + crop), WORDS[moment.marks[stream]], 11)
    return np.asarray(sheet)


def _crop_side(streams: int) -> int:
    return (CELL - (streams - 1) * CROP_GAP) // max(streams, 1)


def _write(sheet: Image.Image, place: tuple[int, int], text: str, points: int) -> None:
    ImageDraw.Draw(sheet).text(place, text, fill=INK, font=ImageFont.load_default(points), anchor="ma")


def _film(moment: Moment, size: tuple[int, int], shown: tuple[int, int], signer: Box | None) -> Image.Image:
    """The film's picture, or blank paper, with all that was found in it."""
    large = (shown[0] * FINE, shown[1] * FINE)
    if moment.film is None:
        picture = Image.new("RGB", large, WHITE)
        ImageDraw.Draw(picture).rectangle([0, 0, large[0] - 1, large[1] - 1], outline=STRIPE, width=FINE)
    else:
        picture = Image.fromarray(moment.film).resize(large, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    scale = large[0] / size[0]
    if signer is not None:
        x0, y0, x1, y1 = (value * scale for value in signer)
        for fill, width, on in ((WHITE, 3, 1.0), (BLACK, 3, 0.5)):
            _outline(draw, (x0, y0, x1, y1), fill, width, dash=12, on=on)
    places = moment.points[:, :2].astype(float) * large
    halo = None if moment.film is None else WHITE
    draw_skeleton(draw, places, moment.points[:, 2] > 0, pixel=THIN, halo=halo, skeleton=moment.skeleton)
    for stream, (x, y, side) in moment.boxes.items():
        if moment.marks[stream] != NOT_SEEN:
            box = ((x - side / 2) * scale, (y - side / 2) * scale, (x + side / 2) * scale, (y + side / 2) * scale)
            _box(draw, box, stream, moment.marks[stream] == FOLLOWED)
    return picture.resize(shown, Image.Resampling.LANCZOS)


def _box(draw: ImageDraw.ImageDraw, box: Box, stream: str, dashed: bool) -> None:
    """One crop's square and its letter: F for face, L and R for the signer's hands."""
    side = stream.split("_")[0]
    colour = COLOURS.get(side, BLACK)
    _outline(draw, box, WHITE, 3 * THIN)
    _outline(draw, box, colour, 2 * THIN, dash=8 * FINE if dashed else 0, on=0.5)
    # The tag stands outside the box, on the side where the other hand's does not.
    left = box[2] if side == "left" else box[0] - TAG[0]
    tag = (left, box[1], left + TAG[0], box[1] + TAG[1])
    draw.rectangle(tag, fill=colour, outline=WHITE, width=THIN)
    middle = ((tag[0] + tag[2]) / 2, (tag[1] + tag[3]) / 2)
    draw.text(middle, side[:1].upper(), fill=WHITE, font=ImageFont.load_default(9 * FINE), anchor="mm")


def _outline(
    draw: ImageDraw.ImageDraw, box: Box, fill: tuple[int, int, int], width: int, *, dash: int = 0, on: float = 1.0
) -> None:
    """A rectangle's outline; `dash` pixels from one dash to the next, of which the share `on` is drawn; 0 = whole."""
    x0, y0, x1, y1 = box
    for a, b in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        length = float(np.hypot(b[0] - a[0], b[1] - a[1]))
        steps = max(round(length / dash), 1) if dash else 1
        for step in range(steps):
            start, end = step / steps, (step + (on if dash else 1.0)) / steps
            dashed = [(a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share) for share in (start, end)]
            draw.line(dashed, fill=fill, width=width)


def _crop(crop: Picture, mark: int, side: int) -> Image.Image:
    """A crop in a frame that says its mark; hatched where it was not seen."""
    if mark == NOT_SEEN:
        return hatched(side, side)
    cell = Image.fromarray(crop).resize((side, side), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(cell)
    edge = (1, 1, side - 2, side - 2)
    _outline(draw, edge, WHITE, 3)
    _outline(draw, edge, INK, 2, dash=10 if mark == FOLLOWED else 0, on=0.5)
    return cell
