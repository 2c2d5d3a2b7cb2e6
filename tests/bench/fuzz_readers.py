"""Who reads what `fuzz.py` has damaged: the functions that entry points call, each on a folder of one kind of input.

Whatever reads is imported where it is needed, so that a worker pays once for it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from bench.fuzz_seeds import NAMES, NETWORK, SIDE


@cache
def _config(name: str, *overrides: str) -> Any:
    import hydra

    from slt.config.checks import CONF

    with hydra.initialize_config_dir(str(CONF), version_base=None):
        return hydra.compose(name, overrides=list(overrides))


def read_sources(root: Path, *, kind: str = "films", format: str, more: Sequence[str] = (), **given: Any) -> Any:
    from omegaconf import OmegaConf

    from slt.extraction.captions import Captions
    from slt.extraction.sources import Footage, find_sources

    keys = [f"kind={kind}", f"captions.format={format}", *more]
    cfg = OmegaConf.to_container(_config("extract", "source=x", "out=y", *keys), resolve=True)
    same = {key: cfg[key] for key in ("mirrored", "pictures_fps", "openpose")}
    return find_sources(root, Footage(kind, **{**same, **given}), Captions(**cfg["captions"]))[0]


def read_boxes(root: Path) -> None:
    read_sources(root, format="subs", boxes=root / "boxes.csv")


def read_openpose(root: Path) -> None:
    from slt.extraction.poses import read_keypoints

    for source in read_sources(root, kind="poses", format="none", more=["openpose={size:[640,480],fps:10}"]):
        read_keypoints(source)


def read_pictures(root: Path) -> None:
    from slt.extraction.footage import known_by, read_frames

    for source in read_sources(root, format="none", more=["pictures_fps=10"]):
        known_by(source.path)
        for _ in read_frames(source, fps=10.0):
            pass


def read_runs(root: Path) -> None:
    from slt.sweeps.page import Sweep
    from slt.sweeps.runs import find_runs, read_run

    assert all(" " not in read_run(folder).status.state for folders in find_runs(root).values() for folder in folders)
    sweep = Sweep.read(root)
    for run in sweep.runs:
        [run.seed, run.objective, run.split, run.predictions, run.value_of("decoder"), run.value_of("streams.face")]


def write_page(root: Path) -> None:
    from slt.sweeps.page import summary, write_sweep

    summary(write_sweep(root))


def resume(root: Path) -> None:
    from slt.training.record import Record

    with tempfile.TemporaryDirectory() as folder:
        Record(Path(folder), []).carry_over(root / "0" / "metrics.csv", 10)


def read_extraction(root: Path) -> None:
    from slt.extraction.records import claim_folder, failed_films, forget_failures, read_records

    claim_folder(root, {"fingerprint": "abc", "folders": {"face": "face"}})
    read_records(root)
    failed_films(root)
    with tempfile.TemporaryDirectory() as folder:
        forget_failures(Path(shutil.copytree(root, Path(folder) / "x")), NAMES[:1], Path(folder))


def write_overview(root: Path) -> None:
    from slt.extraction.records import extracted_shares
    from slt.extraction.report import write_overview

    extracted_shares(root / "metadata.jsonl")
    folders = {"face": "face", "left_hand": "hand_l", "right_hand": "hand_r", "pose": "pose"}
    write_overview(root, {}, folders, worst=2)


def read_clips(root: Path) -> None:
    from slt.corpora.folder import LsaTMultiStream
    from slt.data import Crops, Features, Landmarks

    streams = {f: Crops(folder=f, size=SIDE, jitter=0.0, colour=0.0) for f in ("face", "hand_l", "hand_r")}
    streams["pose"] = Landmarks(folder="pose", points="upper_body", normalise="shoulders", jitter=0.0, noise=0.0)
    streams["feats"] = Features(folder="feats")
    clips = LsaTMultiStream(
        root=root, split="train", streams=streams, fps=5.0, max_frames=20, length_tolerance=2, augment=None, seed=1
    )
    clips.check_seen(strict=True)
    for place in range(len(clips)):
        clips[place]


def check(root: Path) -> None:
    from slt.corpora.checking import check_corpus

    assert all(line and "\n" not in line for line in check_corpus(root))


def fingerprints(root: Path) -> None:
    from slt.corpora.folder import corpus_fingerprints

    corpus_fingerprints(root)


def read_film(root: Path, *, ending: str) -> None:
    from slt.extraction.footage import known_by
    from slt.extraction.video import frames_at, probe, read_frames, target_rate

    film = root / f"film.{ending}"
    faults = []
    known_by(film)
    for read in (
        lambda: read_frames(film, fps=target_rate(probe(film), None, 30.0)),
        lambda: read_frames(film, fps=7.0, start=0.3, end=0.7),
        lambda: frames_at(film, [0.0, 0.5]),
    ):
        try:
            for _ in read():  # one picture at a time, as all that read films do
                pass
        except ValueError as error:
            faults.append(error)
    if faults:
        raise faults[0]


def read_points(root: Path, *, file: str) -> None:
    from slt.corpora.lsa_t import clip_names
    from slt.extraction.poses import read_keypoints
    from slt.extraction.source import Source

    if file.endswith(".h5"):
        clip_names(root / file)
    read_keypoints(Source("clip", root / file, 0.0, 0.5))


def read_checkpoint(root: Path) -> None:
    from slt.commands.export import open_run

    open_run(root)


def read_weights(root: Path, *, file: str) -> None:
    from slt.models import ConvSmall
    from slt.models.backbones import check_stream

    check_stream(str(root / file), "face")
    ConvSmall(**NETWORK, weights=str(root / file))


def read_export(root: Path, *, encoder: str) -> None:
    from slt.commands.film import build_extractor, rebuild
    from slt.inference.onnx import Inputs
    from slt.inference.open import open_translator

    search = {"num_beams": None, "length_penalty": None, "max_tokens": None, "nbest": 1}
    opened = open_translator(
        root, encoder=encoder, tokenizer=None, device="cpu", threads=1, search=search, rebuild=rebuild
    )
    stub = "landmarker._target_=bench.landmarker_stub.StubLandmarker"
    build_extractor(_config("demo", "model=x", "source=x", "other_extractor=true", stub), opened)
    frames = min(5, opened.translator.max_frames or 5)
    clip = Inputs(
        {s.name: np.zeros((frames, *s.shape), s.dtype) for s in opened.translator.streams},
        {s.name: np.ones(frames, bool) for s in opened.translator.streams},
    )
    opened.translator.translate(clip, **search)


def read_config(root: Path) -> None:
    import hydra

    from slt.config.checks import CONF, check

    command, *overrides = json.loads((root / "argv.json").read_text())
    with hydra.initialize_config_dir(str(CONF), version_base=None):
        check(hydra.compose(command, overrides=overrides))
