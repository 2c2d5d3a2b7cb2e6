"""Blind human rating: translations of the same clips by several systems, and their references, not told apart.

The page shows one translation of one clip at a time beside the signing, as the WMT shared tasks on sign language
translation do (Müller et al. 2022): source-based, the reference as one system more.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from slt.drawing.page import templates
from slt.evaluation.settings import Drawing
from slt.files import atomic, write_json

REFERENCE = "reference"  # the system that the references are
FILMS = (".mp4", ".webm", ".m4v", ".mov", ".ogv")  # that browsers play
TEXTS = yaml.safe_load(Path(__file__).with_name("rating_texts.yaml").read_text(encoding="utf-8"))


# As slt/evaluation/report.html writes them.
STRIP = re.compile(
    r'<img src="(data:image/webp;base64,[^"]*)" width="(\d+)" height="(\d+)"[^>]* alt="Filmstrip of clip ([^"]*)">'
)


@dataclass(frozen=True)
class Strip:
    """A filmstrip as a page shows it: a data URI and its size in pixels."""

    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Item:
    """What a rater sees once: a translation of a clip.

    Attributes:
        systems: whose translation it is, several where they said the same; none of a catch item.
        catch: `repeat` or `spoiled`; "" = none.
        beside: number of the item that a catch item is held against: its first showing, or the reference of its clip.
    """

    clip: str
    text: str
    systems: tuple[str, ...]
    catch: str = ""
    beside: int = 0


def draw_items(said: Mapping[str, Mapping[str, str]], clips: Sequence[str], how: Drawing) -> list[Item]:
    """The items of a page in the order in which they are shown, numbered from 1.

    `said` is system -> clip -> sentence, `REFERENCE` among them. Clips are drawn from those given; of each, what two
    systems say alike is shown once. Catch items are a sentence shown again, in the second half what stood in the first,
    and a reference half of whose words are those of another one (Graham et al. 2017).
    """
    generator = random.Random(how.seed)
    chosen = generator.sample(sorted(clips), min(how.clips, len(clips)))
    items: list[Item] = []
    for clip in chosen:
        by_text: dict[str, list[str]] = {}
        for system, sentences in said.items():
            by_text.setdefault(sentences[clip], []).append(system)
        items += [Item(clip, text, tuple(systems)) for text, systems in by_text.items()]
    generator.shuffle(items)
    half = len(items) // 2
    again = generator.sample(items[:half], min(how.repeats, half))
    spoilt = generator.sample(chosen, min(how.spoiled, len(chosen) if len(chosen) > 1 else 0))
    references = said[REFERENCE]
    catches = [Item(item.clip, item.text, (), "repeat") for item in again]
    for clip in spoilt:
        other = generator.choice([name for name in chosen if name != clip])
        catches.append(Item(clip, _spoil(references[clip], references[other], generator), (), "spoiled"))
    for item in catches:
        items.insert(generator.randint(half if item.catch == "repeat" else 0, len(items)), item)
    return _tied(items, references)


def _spoil(sentence: str, other: str, generator: random.Random) -> str:
    """A sentence with half of its words, at least one, in whose place stand words of another."""
    words, strange = sentence.split(), other.split() or ["…"]
    for place in generator.sample(range(len(words)), (len(words) + 1) // 2):
        words[place] = generator.choice([word for word in strange if word != words[place]] or strange)
    return " ".join(words)


def _tied(items: Sequence[Item], references: Mapping[str, str]) -> list[Item]:
    """The items, catch items with the number of the one that they are held against."""
    first = {(item.clip, item.text): number for number, item in enumerate(items, 1) if not item.catch}
    return [
        Item(item.clip, item.text, item.systems, item.catch,
             first[item.clip, item.text if item.catch == "repeat" else references[item.clip]] if item.catch else 0)
        for item in items
    ]  # fmt: skip


def read_strips(report: Path) -> dict[str, Strip]:
    """The filmstrips in a run's report.html by clip id."""
    found = STRIP.findall(report.read_text(encoding="utf-8"))
    return {html.unescape(clip): Strip(source, int(width), int(height)) for source, width, height, clip in found}


def find_films(folder: Path, clips: Sequence[str]) -> dict[str, Path]:
    """Clip -> its film `CLIP.mp4` (webm, m4v, mov, ogv) in a folder, of those that have one."""
    there = {path.stem: path for path in sorted(folder.iterdir(), reverse=True) if path.suffix.lower() in FILMS}
    return {clip: there[clip] for clip in clips if clip in there}


def write_page(
    folder: Path,
    items: Sequence[Item],
    *,
    title: str,
    strips: Mapping[str, Strip],
    films: Mapping[str, Path],
    systems: Mapping[str, str],
    seed: int,
) -> tuple[Path, Path]:
    """Writes rating.html, for the raters, and key.json, which says whose translations they are: keep it to yourself.

    Films are linked from the page, filmstrips are in it. Returns both paths.
    """
    numbers = {clip: number for number, clip in enumerate(sorted({item.clip for item in items}), 1)}
    shown = {
        "title": title,
        "items": [{"clip": numbers[item.clip], "text": item.text} for item in items],
        "clips": {
            number: {
                "film": quote(os.path.relpath(films[clip], folder)) if clip in films else None,
                "strip": asdict(strips[clip]) if clip in strips else None,
            }
            for clip, number in numbers.items()
        },
    }
    page = hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:12]
    # `<` so escaped ends no script, whatever a sentence says.
    data = json.dumps({"page": page, "texts": TEXTS, **shown}, ensure_ascii=False).replace("<", "\\u003c")
    written = templates("slt.evaluation").get_template("rating.html").render(title=title, data=data)
    with atomic(folder / "rating.html") as file:
        file.write(written.encode())
    key: dict[str, Any] = {"page": page, "seed": seed, "systems": dict(systems)}
    key["items"] = [asdict(item) for item in items]
    write_json(folder / "key.json", key)
    return folder / "rating.html", folder / "key.json"
