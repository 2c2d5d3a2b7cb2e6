"""The Public DGS Corpus (Hanke et al., LREC 2020) by the translation protocols of Saunders et al. (CVPR 2022)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from slt.corpora import tables
from slt.corpora.corpus import Row
from slt.corpora.films import PARTS, Films, parse_time, spell

FPS = 50.0  # of its films
COLUMNS = ("filename", "camera", "ger_text", "gloss", "start_time", "stop_time")
NAME = re.compile(r"(.+)-(\d+)", re.ASCII)  # transcript with its camera, and the sentence's number


class DGS(Films):
    """`mDGS_Protocol_Train.csv`, `_Dev` and `_Test`: bars without quoting, a sentence of one of two signers a row.

    A conversation has two signers, each with a camera; a sentence is its signer's alone. `filename` is a transcript
    with a camera and a number, 1583882A-1, and the id; where the camera stands in its own column only, it is put in.
    The film of camera A is 1583882_1a1.mp4, and `film` is 1583882. `signer` is 1583882A: the protocols do not say who
    signs in several transcripts. The official splits share films and signers.

    Times are frames at 50 a second in the official tables; seconds with a decimal point and `hh:mm:ss:ff` are read,
    too. A gloss comes as GLOSS/first frame/last frame, of which the gloss is kept.
    """

    expects = "mDGS_Protocol_Train.csv, mDGS_Protocol_Dev.csv and mDGS_Protocol_Test.csv"
    # Dev and test by their tables; 40,230 segments in all, as the authors say, leave the rest to train.
    published: ClassVar[dict[str, int]] = {"train": 30258, "val": 4995, "test": 4977}

    def film(self, row: Row) -> str:
        return f"{row.columns['film']}_1{row.columns['signer'][-1].lower()}1"

    def read(self, split: str) -> Iterator[Row]:
        name = f"mDGS_Protocol_{PARTS[split].capitalize()}.csv"
        path = self.file(name, f"mDGS/{name}")
        yield from self.lasting(split, (_row(*pair) for pair in tables.read_unquoted(path, COLUMNS, delimiter="|")))


def _row(where: str, row: dict[str, str]) -> Row:
    camera, match = row["camera"].strip().upper(), NAME.fullmatch(row["filename"].strip())
    if match is None or camera not in ("A", "B"):
        raise ValueError(f"{where}: a filename as 1583882A-1 and camera A or B expected, came {row}")
    place, number = match.groups()
    film = place[:-1] if place[-1].upper() == camera else place
    if film[-1:] in ("A", "B"):
        raise ValueError(f"{where}: filename {row['filename']!r} is of another camera than {camera}")
    start, end = (spell(parse_time(row[key], where, fps=FPS)) for key in ("start_time", "stop_time"))
    gloss = " ".join(re.sub(r"/\d+/\d+$", "", word) for word in row["gloss"].split())
    columns = {"gloss": gloss, "signer": f"{film}{camera}", "film": film, "start": start, "end": end}
    return Row(f"{film}{camera}-{number}", row["ger_text"].strip(), columns)
