"""Captions that visitors corrected and agreed to give away: ELAN files and rows of a table, a corpus to train on.

`dataset=elan` reads the folder, with `dataset.corpus.tier=captions`. Neither anybody's file name nor a signer's name
stands in it.
"""

from __future__ import annotations

import csv
import io
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from slt.files import atomic
from slt.inference.elan import write_elan
from slt.inference.subtitles import Caption

TABLE = "corrections.csv"
COLUMNS = ("id", "text", "signer", "film", "start", "end", "translated", "consent", "time")


@dataclass(frozen=True)
class Consent:
    """What a visitor agrees to: that the captions are kept, and that the film is kept with them."""

    captions: bool
    film: bool

    def __str__(self) -> str:
        return "captions and film" if self.film else "captions"


class Corrections:
    """A folder of what was given: NAME.eaf, the film beside it where that was agreed to, and `corrections.csv`.

    Rows are `NAME_N`, as the reader of ELAN files counts clips of a film; `translated` is what the model had said.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()

    def keep(
        self, name: str, captions: Sequence[Caption], translated: Sequence[Caption], film: Path, consent: Consent
    ) -> None:
        """Keep the captions of a film, in place of those that were kept under this name; without consent none."""
        with self._lock:
            for path in self.folder.glob(f"{name}.*"):
                path.unlink()
            rows = [row for row in self._rows() if row["film"] != name]
            if consent.captions:
                copy = self.folder / f"{name}{film.suffix.lower()}" if consent.film else None
                if copy is not None:
                    shutil.copyfile(film, copy)
                write_elan(captions, self.folder / f"{name}.eaf", copy)
                rows += _rows(name, captions, translated, consent)
            self._write(rows)

    def _rows(self) -> list[dict[str, str]]:
        table = self.folder / TABLE
        if not table.is_file():
            return []
        with table.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter=";"))

    def _write(self, rows: Sequence[dict[str, str]]) -> None:
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS, delimiter=";", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        with atomic(self.folder / TABLE) as file:
            file.write(text.getvalue().encode())


def _rows(
    name: str, captions: Sequence[Caption], translated: Sequence[Caption], consent: Consent
) -> list[dict[str, str]]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return [
        {
            "id": f"{name}_{n}", "text": one.text, "signer": "", "film": name, "start": f"{one.start:.3f}",
            "end": f"{one.end:.3f}", "translated": before.text, "consent": str(consent), "time": now,
        }
        for n, (one, before) in enumerate(zip(captions, translated, strict=True), 1)
    ]  # fmt: skip
