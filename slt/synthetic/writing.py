"""The embedded corpus on disk: written once for a set of parameters, in the LSA-T layout, whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from slt.corpora import layout
from slt.files import building, write_json
from slt.synthetic.filming import SPLITS, Clip, Noise, Recipe, cast, plan, write_clip
from slt.synthetic.grammar import GRAMMARS, transcribe, translate
from slt.synthetic.lexicon import describe, lexicon
from slt.text import near
from slt.workers import cores, run_tasks


def corpus_folder(
    *, cache: str, workers: int | None, progress: bool, noise: Mapping[str, float], **parameters: Any
) -> Path:
    """Return the folder of the corpus that these parameters give; write it first if it is not there yet.

    Args:
        cache: folder that holds the corpora, one sub-folder for every set of parameters; "~" is the home folder.
        workers: processes that draw; None = one a core, 0 and 1 draw here. The corpus is the same for any number.
        progress: whether to show a progress bar.
        noise: the values of `Noise`.
        parameters: all others of `Recipe`.
    """
    recipe = recipe_of(noise, parameters)
    fingerprint = digest(recipe)
    folder = Path(cache).expanduser() / f"synthetic-{fingerprint}"
    with building(folder, last="corpus.json") as made:
        if made is not None:
            _write(made, recipe, fingerprint, cores() if workers is None else workers, progress)
    return folder


def recipe_of(noise: Mapping[str, float], parameters: Mapping[str, Any]) -> Recipe:
    """Return what the values of `Noise` and all others of `Recipe` describe."""
    _check_names("", {"noise": noise, **parameters}, Recipe)
    _check_names("noise: ", noise, Noise)
    counts = {key: dict(parameters[key]) for key in ("clips", "signers")}
    shares = {key: float(parameters[key]) for key in ("left_handed", "fps")}
    heard = Noise(**{key: float(value) for key, value in noise.items()})
    return Recipe(**{**parameters, **counts, **shares}, noise=heard)


def digest(*recipes: Any) -> str:
    """Return the mark of all that these dataclasses say."""
    said = [dataclasses.asdict(each) for each in recipes]
    text = json.dumps(said[0] if len(said) == 1 else said, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_names(where: str, given: Mapping[str, Any], kind: type) -> None:
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    if {*given} != {*names}:
        hint = "".join(near(str(key), names) for key in given if key not in names)
        raise ValueError(f"{where}{', '.join(names)} expected, came {', '.join(map(str, given))}{hint}")


def _write(folder: Path, recipe: Recipe, fingerprint: str, workers: int, progress: bool) -> None:
    clips = plan(recipe)
    setup = partial(_drawing, folder, recipe, f"synthetic-{fingerprint}")
    drawn = tqdm(run_tasks(clips, setup, workers=workers), "corpus", len(clips), unit="clip", disable=not progress)
    facts, pieces = {}, {}
    for clip, (fact, where) in drawn:
        facts[clip.name], pieces[clip.name] = fact, where
    layout.write_table(folder / "subs.csv", [_row(clip, facts[clip.name], pieces[clip.name]) for clip in clips])
    layout.write_metadata(folder / "metadata.jsonl", [facts[clip.name] for clip in clips])
    for split in SPLITS:
        layout.write_index(folder / "index" / f"{split}.csv", [clip.name for clip in clips if clip.split == split])
    write_json(folder / "labels" / "lexicon.json", describe(lexicon(recipe.size)))
    write_json(folder / "labels" / "grammar.json", dataclasses.asdict(GRAMMARS[recipe.size]))
    signers = {split: [dataclasses.asdict(signer) for signer in signers] for split, signers in cast(recipe).items()}
    write_json(folder / "labels" / "signers.json", signers)
    about = {"name": "synthetic", "maker": "slt.synthetic", "parameters": dataclasses.asdict(recipe)}
    write_json(folder / "corpus.json", about | {"fingerprint": fingerprint})


@contextmanager
def _drawing(folder: Path, recipe: Recipe, extractor: str) -> Iterator[Callable[[Clip], tuple[dict[str, Any], str]]]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the processes share the cores already
    try:
        yield partial(write_clip, folder=folder, recipe=recipe, extractor=extractor)
    finally:
        cv2.setNumThreads(threads)


def _row(clip: Clip, fact: Mapping[str, Any], pieces: str) -> dict[str, str]:
    frames, fps = fact["frames"], fact["fps"]
    words = {"video_id": clip.name, "texto": translate(clip.meaning), "gloss": transcribe(clip.meaning)}
    who = {"signer": clip.signer.name, "film": f"{clip.signer.name}_film{clip.film}"}
    return words | who | {"fps": f"{fps:g}", "duration": f"{frames / fps:.3f}", "frame_count": str(frames),
                         "pieces": pieces}  # fmt: skip
