"""The good inputs that `fuzz.py` damages, one or more of every kind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from bench.openpose_files import person, write_people

from slt.corpora import layout
from slt.files import write_json
from slt.streams.arrays import write_features, write_pose
from slt.streams.packed import write_frames, write_packed

NAMES = ("clip_a", "clip_b", "clip_c", "clip_d")
FRAMES, SIDE = 6, 16
NETWORK = {"img_size": 32, "widths": [8, 8], "patch_size": 8, "dropout": 0.0, "frozen": False}
CAPTIONS = {  # name -> format, file, text
    "subs": ("subs", "subs.csv", """\
video_id;texto;gloss;signer
film_a;Hola, ¿qué tal?;HOLA;ana
film_b;"Uno; dos.";UNO DOS;eva
"""),
    "cuts": ("cuts", "subs.csv", """\
video_id;video;start;end;texto
a1;film_a;0;1.5;Hola.
a2;film_a;1.5;;Adiós.
b1;film_b;;2;Uno.
"""),
    "lsa_t": ("lsa_t", "meta.csv", """\
id,label,video,start,end,duration,splits,signers_amount,infered_signer
a1,Hola.,film_a,0.5,1.5,1.0,"[('Hola.', 0.5, 1.5)]",1,signer_0
b1,"Uno, dos.",film_b,16.532.999,18.2,1.7,"[('Uno,', 16.5, 17.1), ('dos.', 17.1, 18.2)]",2,signer_1
"""),
    "subtitles": ("subtitles", "subtitles.json", """\
{"film_a": [[0, 1.5, "Hola."], [1.5, 2, "Adiós."]], "film_b": [[0.5, 1, "Uno"]]}
"""),
    "srt": ("srt", "film_a.srt", """\
1
00:00:00,500 --> 00:00:01,500
<i>Hola.</i>

2
00:00:02,000 --> 00:00:03,000
Uno
{\\an8}dos
"""),
    "vtt": ("vtt", "film_a.vtt", """\
WEBVTT

NOTE x

1
00:00.500 --> 00:01.500 align:start
Hola<00:01.000><c> qué</c>

00:02.000 --> 00:03.000
<v Ana>Uno &amp; dos
"""),
    "vtt that rolls": ("vtt", "film_a.es.vtt", """\
WEBVTT
Kind: captions
Language: es

00:00:00.160 --> 00:00:02.070 align:start position:0%
 \n\
hola<00:00:00.560><c> a</c><00:00:00.800><c> todos</c>

00:00:02.070 --> 00:00:02.080 align:start position:0%
hola a todos
 \n\

00:00:02.080 --> 00:00:04.230 align:start position:0%
hola a todos
hoy<00:00:02.400><c> vamos</c>

00:00:04.230 --> 00:00:04.240 align:start position:0%
hoy vamos
 \n\
"""),
    "tabs": ("cuts", "subs.csv", """\
VIDEO_ID\tVideo\tSTART\tEND\tTEXTO
a1\tfilm_a\t0,5\t1,5\tHola, ¿qué tal?
b1\tfilm_b\t0\t2,25\tUno; dos.
"""),
    "commas": ("auto", "subs.csv", """\
sep=,
video_id,video,start,end,texto
a1,film_a,0,1.5,"Hola, ¿qué tal?"
b1,film_b,1.5,,Adiós.
"""),
}  # fmt: skip
BOXES = "video_id;x;y;width;height\nfilm_a;0;0;640;720\nfilm_b;1.5;2;100;100\n"
FILMS = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx-vp9", "avi": "mpeg4", "mov": "mpeg4", "gif": "gif"}


def make_seeds(folder: Path, log: Path) -> None:
    """Write one good input of every kind; the checkpoint and the export come from the commands themselves."""
    for name, (_, file, text) in CAPTIONS.items():
        where = folder / f"captions_{name}"
        where.mkdir(parents=True)
        (where / file).write_text(text, encoding="utf-8")
        (where / "boxes.csv").write_text(BOXES, encoding="utf-8")
        for film in ("film_a", "film_b"):
            (where / f"{film}.mp4").touch()
    _make_corpus(folder / "corpus")
    _make_films(folder)
    _make_frames(folder)
    (folder / "config").mkdir()
    _make_weights(folder / "weights")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from conftest import CORPUS, TINY

    from slt.synthetic import corpus_folder

    corpus = corpus_folder(cache=str(folder), **{**CORPUS, "clips": {"train": 4, "val": 2, "test": 2}})
    train = [f"dataset.root={corpus}", *TINY, "final=null", f"hydra.run.dir={folder / 'run'}"]
    export = [f"checkpoint={folder / 'run'}", f"out={folder / 'export'}", "parity.batches=1", "parity.limit=1"]
    runs = (["slt.train", *train], ["slt.export", *export])
    for command in runs:
        with log.open("ab") as file:
            subprocess.run([sys.executable, "-m", *command], cwd=folder, check=True, stdout=file, stderr=file)
    job = folder / "runs" / "0"
    shutil.copytree(folder / "run", job, ignore=shutil.ignore_patterns("checkpoints", "*.png", "*.html", "*.log"))
    shutil.copyfile(folder / "corpus" / "subs.csv", folder / "extraction" / "subs.csv")
    plan = {"again": "again", "jobs": [{"number": 0, "folder": "0", "overrides": ["seed=1"]}]}
    write_json(folder / "runs" / "sweep.json", plan)
    for path in [*(folder / "run").iterdir()]:
        if path.is_file():
            path.unlink()


def _make_corpus(root: Path) -> None:
    dice = np.random.default_rng(1)
    more = {"gloss": "UNO", "signer": "ana", "fps": "10", "frame_count": FRAMES}
    rows = [{"video_id": name, "texto": f"Oración {name}; uno.", **more} for name in NAMES]
    layout.write_table(root / "subs.csv", rows)
    for split, ids in {"train": NAMES[:2], "val": NAMES[2:3], "test": NAMES[3:]}.items():
        layout.write_index(root / "index" / f"{split}.csv", ids)
    layout.write_metadata(root / "metadata.jsonl", [
        {"video_id": name, "fingerprint": "abc", "extractor": "x", "frames": FRAMES} for name in NAMES
    ])  # fmt: skip
    write_json(root / "corpus.json", {"fingerprint": "abc", "name": "x"})
    for name in NAMES:
        frames = dice.integers(0, 255, (FRAMES, SIDE, SIDE, 3), np.uint8)
        for part, encoding in (("face", "raw"), ("hand_l", "jpeg")):
            path = root / part / f"{name}.safetensors"
            write_packed(path, frames, np.ones(FRAMES, bool), encoding=encoding, quality=90, extractor="abc")
        write_frames(root / "hand_r", name, frames, quality=90)
        pose = dice.uniform(0.2, 0.8, (FRAMES, 75, 3)).astype(np.float32)
        marks = {"hand_r": np.ones(FRAMES, np.uint8)}
        write_pose(root / "pose" / f"{name}.npz", pose, size=(64, 48), seen=marks)
        write_features(root / "feats" / f"{name}.npy", dice.normal(size=(FRAMES, 8)).astype(np.float32))


def _make_films(folder: Path) -> None:
    import av
    import h5py

    from slt.extraction.poses import write_pose_format

    films, poses = folder / "films", folder / "poses"
    films.mkdir()
    poses.mkdir()
    for ending, codec in FILMS.items():
        with av.open(str(films / f"film.{ending}"), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "rgb8" if codec == "gif" else "yuv420p"
            for n in range(10):
                picture = np.full((32, 48, 3), 20 * n, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    points = np.random.default_rng(2).uniform(0.2, 0.8, (8, 75, 3)).astype(np.float32)
    write_pose_format(poses / "film.pose", [points], size=(64, 48), fps=10, frames=len(points))
    with h5py.File(poses / "keypoints.h5", "w") as file:
        rows = np.random.default_rng(3).uniform(1, 1000, (5, 4 * 543)).astype(np.float32)
        file.create_dataset("clip.mp4/signer_0/keypoints", data=rows)


def _make_frames(folder: Path) -> None:
    import cv2

    pictures, extraction = folder / "pictures" / "film", folder / "extraction"
    pictures.mkdir(parents=True)
    for n in range(FRAMES):
        cv2.imwrite(str(pictures / f"{n:03d}.{'png' if n else 'jpg'}"), np.full((24, 32, 3), 30 * n, np.uint8))
    write_people(folder / "openpose" / "clip_a", "clip_a", [[person(300, 200), person(500, 90)]] * 4)
    records = [
        {"video_id": name, "film": "film_a", "start": 0.0, "end": 1.0, "fps": 10.0, "film_fps": 10.0, "frames": FRAMES,
         "size": [64, 48], "extractor": "x", "version": "1", "fingerprint": "abc",
         "seen": {"face": 1.0, "left_hand": 0.5}, "box": {"face": 12.0},
         "signer": {"certainty": 0.9, "persons": 2, "unsure": True, "box": [1, 2, 3, 4]}}
        for name in NAMES
    ]  # fmt: skip
    layout.write_metadata(extraction / "metadata.jsonl", records)
    write_json(extraction / "extraction.json", {"fingerprint": "abc", "folders": {"face": "face"}})
    (extraction / "faults.csv").write_text("where;video_id;reason;dropped\nfilm_a;clip_a;no hands;false\n")
    write_json(extraction / ".failed" / "clip_d.json", records[-1] | {"failure": "no such film"})


def _make_weights(folder: Path) -> None:
    import torch

    from slt.models import ConvSmall
    from slt.pretraining.weights import write_backbone

    folder.mkdir()
    backbone = ConvSmall(**NETWORK, weights=None)
    write_backbone(folder, backbone, stream="face", about={"a": 1})
    torch.save(backbone.network.state_dict(), folder / "backbone.pt")
