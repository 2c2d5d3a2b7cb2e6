"""From runs' predictions to a page for raters, and from what they sent back to means, agreement and a paired test."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from slt.commands.score import read_sentences
from slt.config.checks import check, taken
from slt.evaluation import raters
from slt.evaluation.prediction import Prediction, read_predictions
from slt.evaluation.rating import REFERENCE, Strip, draw_items, find_films, read_strips, write_page
from slt.evaluation.settings import Drawing
from slt.files import existing, read_json, write_json


def rate(cfg: DictConfig) -> None:
    check(cfg)
    folder = Path(os.path.relpath(HydraConfig.get().runtime.output_dir))
    if cfg.read is None:
        make(cfg, folder)
    else:
        read(cfg, folder)


def make(cfg: DictConfig, folder: Path) -> None:
    """Writes rating.html and key.json, and says what to do with them."""
    if len(cfg.systems) < 2:
        raise ValueError(
            "systems: two or more expected, as in +systems.large=RUN +systems.small=RUN "
            "(or read=FOLDER, to read ratings)"
        )
    places = {str(name): Path(where) for name, where in cfg.systems.items()}
    said = read_systems(places)
    clips, strips = list(said[REFERENCE]), find_strips(places.values())
    films = find_films(Path(cfg.films), clips) if cfg.films is not None else {}
    shown = [clip for clip in clips if clip in films or clip in strips]
    if not shown:
        raise ValueError(
            "no clip has a film or a filmstrip, and adequacy cannot be rated without the signing; say where films lie, "
            "films=FOLDER with CLIP.mp4 in it, or take runs that have a report.html"
        )
    items = draw_items(said, shown, taken(Drawing, cfg))
    page, key = write_page(
        folder, items, title=cfg.heading, strips=strips, films=films, seed=cfg.seed,
        systems={name: str(path) for name, path in places.items()} | {REFERENCE: "the references"},
    )  # fmt: skip
    rated = len({item.clip for item in items})
    catches = sum(bool(item.catch) for item in items)
    print(f"{len(items)} items: {rated} clips by {len(said) - 1} systems and the references, {catches} catch items")
    if rated < cfg.clips:
        print(f"only {rated} clips have a film or a filmstrip (clips={cfg.clips}); films=FOLDER gives more")
    print(f"page: {page} (send it to the raters{', with its films' if films else ''})")
    print(f"key: {key} (says whose translations they are; do not send it)")
    print("then: python -m slt.rate read=FOLDER_OF_THEIR_FILES")


def read_systems(places: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """System -> clip -> sentence, the references among them; ValueError where they are not of the same clips."""
    if REFERENCE in places:
        raise ValueError(f"systems.{REFERENCE}: the references have that name; give the system another")
    tables = {name: table for name, path in places.items() if (table := _predictions(path)) is not None}
    if not tables:
        raise ValueError("systems: one of them at least must be a run with a predictions.tsv: it says which clips")
    first, known = next(iter(tables.items()))
    references = {p.id: p.reference for p in known}
    said: dict[str, dict[str, str]] = {}
    for name, path in places.items():
        if name in tables:
            if {p.id: p.reference for p in tables[name]} != references:
                raise ValueError(
                    f"systems.{name}={path}: of other clips or references than {first}; expected one split"
                )
            said[name] = {p.id: p.hypothesis for p in tables[name]}
        else:
            sentences = read_sentences(path)
            if len(sentences) != len(known):
                raise ValueError(
                    f"systems.{name}={path} has {len(sentences)} lines for the {len(known)} clips of {first}"
                )
            said[name] = dict(zip(references, sentences, strict=True))
    return said | {REFERENCE: references}


def _predictions(path: Path) -> list[Prediction] | None:
    """Of a run folder or a predictions.tsv; None of a text file."""
    if path.is_dir():
        path = existing(path / "predictions.tsv", "a run that was scored (slt.eval, or slt.train with final=test)")
    existing(path, "a run folder, a predictions.tsv or a text file with a sentence a line")
    return read_predictions(path) if path.suffix == ".tsv" else None


def find_strips(places: Any) -> dict[str, Strip]:
    """The filmstrips in the reports of the runs."""
    found: dict[str, Strip] = {}
    for path in places:
        report = (path if path.is_dir() else path.parent) / "report.html"
        if report.is_file():
            found = read_strips(report) | found
    return found


def read(cfg: DictConfig, folder: Path) -> None:
    """Prints attention, agreement and systems, and writes them to ratings.json, all ratings to ratings.csv."""
    given = Path(cfg.read)
    if not given.is_dir():
        raise FileNotFoundError(f"read={given}: no such folder; expected one with the files that raters saved")
    key = find_key(given, cfg.key)
    ratings = raters.read_ratings(given, key)
    seen = {name: raters.attention(own, key["items"]) for name, own in ratings.items()}
    kept = {name: own for name, own in ratings.items() if seen[name].attentive or cfg.inattentive == "keep"}
    if not kept:
        raise ValueError(f"read={given}: no rater is attentive, so that nothing is left; see with inattentive=keep")
    alphas = raters.agreement(kept, key["items"])
    found = raters.systems(kept, key["items"], bootstrap=cfg.bootstrap, seed=cfg.seed)
    print("\n".join(raters.lines(found, seen, alphas)))
    if left := [name for name in ratings if name not in kept]:
        print(f"left out: {', '.join(left)} (inattentive=keep takes them in)")
    write_json(folder / "ratings.json", {
        "page": key["page"], "raters": {name: asdict(own) | {"attentive": own.attentive} for name, own in seen.items()},
        "kept": list(kept), "alpha": alphas, "systems": {name: asdict(own) for name, own in found.items()},
    })  # fmt: skip
    with (folder / "ratings.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["rater", "item", "clip", "systems", "catch", *raters.SCALES, "text"])
        for name, own in ratings.items():
            for number, values in sorted(own.items()):
                item = key["items"][number - 1]
                scores = [values[scale] for scale in raters.SCALES]
                rows.writerow(
                    [name, number, item["clip"], " ".join(item["systems"]), item["catch"], *scores, item["text"]]
                )
    print(f"ratings: {folder / 'ratings.json'}, {folder / 'ratings.csv'}")


def find_key(given: Path, named: str | None) -> dict[str, Any]:
    """The key of the page that the ratings in a folder are of: the one named, or the one that has the page's name."""
    if named is not None:
        return read_json(existing(named, "the key.json that was written beside the page"))
    told = [read_json(path) for path in sorted(given.glob("*.json"))]
    pages = {each.get("page") for each in told if "ratings" in each}
    for path in [given / "key.json", *sorted(Path("outputs/rate").glob("*/*/key.json"))]:
        if path.is_file() and (key := read_json(path)).get("page") in pages:
            return key
    raise FileNotFoundError(
        f"read={given}: no key.json of page {', '.join(sorted(map(str, pages))) or '(no ratings)'} there or in "
        "outputs/rate; give it, as in key=outputs/rate/DATE/TIME/key.json"
    )
