"""What `fuzz.py` damages and who reads it: the seeds, and for each kind of input the functions that entry points call.

Whatever reads is imported where it is needed, so that a worker pays once for it.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from bench import fuzz_mutations as mutations

NAMES = ("clip_a", "clip_b", "clip_c", "clip_d")
FRAMES, SIDE = 6, 16
NETWORK = {"img_size": 32, "widths": [8, 8], "patch_size": 8, "dropout": 0.0, "frozen": False}
CAPTIONS = {
    "subs": ("subs.csv", """\
video_id;texto;gloss;signer
film_a;Hola, ¿qué tal?;HOLA;ana
film_b;"Uno; dos.";UNO DOS;eva
"""),
    "cuts": ("subs.csv", """\
video_id;video;start;end;texto
a1;film_a;0;1.5;Hola.
a2;film_a;1.5;;Adiós.
b1;film_b;;2;Uno.
"""),
    "lsa_t": ("meta.csv", """\
id,label,video,start,end,duration,splits,signers_amount,infered_signer
a1,Hola.,film_a,0.5,1.5,1.0,"[('Hola.', 0.5, 1.5)]",1,signer_0
b1,"Uno, dos.",film_b,16.532.999,18.2,1.7,"[('Uno,', 16.5, 17.1), ('dos.', 17.1, 18.2)]",2,signer_1
"""),
    "subtitles": ("subtitles.json", """\
{"film_a": [[0, 1.5, "Hola."], [1.5, 2, "Adiós."]], "film_b": [[0.5, 1, "Uno"]]}
"""),
    "srt": ("film_a.srt", """\
1
00:00:00,500 --> 00:00:01,500
<i>Hola.</i>

2
00:00:02,000 --> 00:00:03,000
Uno
{\\an8}dos
"""),
    "vtt": ("film_a.vtt", """\
WEBVTT

NOTE x

1
00:00.500 --> 00:01.500 align:start
Hola<00:01.000><c> qué</c>

00:02.000 --> 00:03.000
<v Ana>Uno &amp; dos
"""),
}  # fmt: skip
BOXES = "video_id;x;y;width;height\nfilm_a;0;0;640;720\nfilm_b;1.5;2;100;100\n"
CUE = ("-->", "00:00:01,000 --> 00:00:00,500", "99:59:59.999 --> 100:00:00.000", "WEBVTT", "NOTE", "STYLE", "\n\n")
VALUES = ("[1,2]", "{a:1}", "synthetic", "lsa_t", "vit_light", "[", "{", "{a:", "'", "choice(1,2)", "range(1,3)",
          "${now:%Y}", "???", "a" * 5000, "[" * 500)  # fmt: skip
BOXED = (b"moov", b"mdat", b"trak", b"stsz", b"elst", b"mvhd", b"\x1aE\xdf\xa3", b"RIFF", b"GIF89a")
FILMS = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx-vp9", "avi": "mpeg4", "mov": "mpeg4", "gif": "gif"}


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        weight: its share of all inputs.
        folder: below the seeds; what is damaged lies in it.
        damage: changes files of the folder.
        reads: (command, function of the folder): each must end well or with one message.
        names: whether a message must name the file; of a command line there is none.
    """

    weight: int
    folder: str
    damage: Callable[[random.Random, Path], None]
    reads: Sequence[tuple[str, Callable[[Path], object]]]
    names: bool = True


# ---------------------------------------------------------------- seeds


def make_seeds(folder: Path, log: Path) -> None:
    """Write one good input of every kind; the checkpoint and the export come from the commands themselves."""
    for name, (file, text) in CAPTIONS.items():
        where = folder / f"captions_{name}"
        where.mkdir(parents=True)
        (where / file).write_text(text, encoding="utf-8")
        (where / "boxes.csv").write_text(BOXES, encoding="utf-8")
        for film in ("film_a", "film_b"):
            (where / f"{film}.mp4").touch()
    _make_corpus(folder / "corpus")
    _make_films(folder)
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
    for path in [*(folder / "run").iterdir()]:
        if path.is_file():
            path.unlink()


def _make_corpus(root: Path) -> None:
    from slt.data import layout

    dice = np.random.default_rng(1)
    more = {"gloss": "UNO", "signer": "ana", "fps": "10", "frame_count": FRAMES}
    rows = [{"video_id": name, "texto": f"Oración {name}; uno.", **more} for name in NAMES]
    layout.write_table(root / "subs.csv", rows)
    for split, ids in {"train": NAMES[:2], "val": NAMES[2:3], "test": NAMES[3:]}.items():
        layout.write_index(root / "index" / f"{split}.csv", ids)
    layout.write_metadata(root / "metadata.jsonl", [
        {"video_id": name, "fingerprint": "abc", "extractor": "x", "frames": FRAMES} for name in NAMES
    ])  # fmt: skip
    layout.write_json(root / "corpus.json", {"fingerprint": "abc", "name": "x"})
    for name in NAMES:
        frames = dice.integers(0, 255, (FRAMES, SIDE, SIDE, 3), np.uint8)
        for part, encoding in (("face", "raw"), ("hand_l", "jpeg")):
            path = root / part / f"{name}.safetensors"
            layout.write_packed(path, frames, np.ones(FRAMES, bool), encoding=encoding, quality=90, extractor="abc")
        layout.write_frames(root / "hand_r", name, frames, quality=90)
        pose = dice.uniform(0.2, 0.8, (FRAMES, 75, 3)).astype(np.float32)
        marks = {"hand_r": np.ones(FRAMES, np.uint8)}
        layout.write_pose(root / "pose" / f"{name}.npz", pose, size=(64, 48), seen=marks)
        layout.write_features(root / "feats" / f"{name}.npy", dice.normal(size=(FRAMES, 8)).astype(np.float32))


def _make_films(folder: Path) -> None:
    import av
    import h5py

    from slt.data.keypoints import write_pose_format

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
    write_pose_format(poses / "film.pose", points, size=(64, 48), fps=10)
    with h5py.File(poses / "keypoints.h5", "w") as file:
        rows = np.random.default_rng(3).uniform(0, 1, (5, 4 * 543)).astype(np.float32)
        file.create_dataset("clip.mp4/signer_0/keypoints", data=rows)


def _make_weights(folder: Path) -> None:
    import torch

    from slt.models import ConvSmall
    from slt.pretraining.weights import write_backbone

    folder.mkdir()
    backbone = ConvSmall(**NETWORK, weights=None)
    write_backbone(folder, backbone, stream="face", about={"a": 1})
    torch.save(backbone.network.state_dict(), folder / "backbone.pt")


# ---------------------------------------------------------------- who reads


@cache
def _config(name: str, *overrides: str) -> Any:
    import hydra

    from slt.config import CONF

    with hydra.initialize_config_dir(str(CONF), version_base=None):
        return hydra.compose(name, overrides=list(overrides))


def read_sources(root: Path, *, kind: str = "films", format: str, boxes: bool = False) -> object:
    from slt.data.films import find_sources

    keys = [f"captions.format={format}"] + (["signer=box"] if boxes else [])
    cfg = _config("extract", "source=x", "out=y", *keys)
    table = root / "boxes.csv" if boxes else None
    return find_sources(root, kind=kind, **cfg.captions, signer=cfg.signer, boxes=table)


def read_clips(root: Path) -> None:
    from slt.data import Crops, Features, Landmarks, LsaTMultiStream

    streams = {f: Crops(folder=f, size=SIDE, jitter=0.0, colour=0.0) for f in ("face", "hand_l", "hand_r")}
    streams["pose"] = Landmarks(folder="pose", points="upper_body", jitter=0.0, noise=0.0)
    streams["feats"] = Features(folder="feats")
    clips = LsaTMultiStream(
        root=root, split="train", streams=streams, fps=5.0, max_frames=20, length_tolerance=2, augment=None, seed=1
    )
    for place in range(len(clips)):
        clips[place]


def check(root: Path) -> None:
    from slt.data.checking import check_corpus

    assert all(line and "\n" not in line for line in check_corpus(root))


def fingerprints(root: Path) -> None:
    from slt.data.lsa_t import corpus_fingerprints

    corpus_fingerprints(root)


def read_film(root: Path, *, ending: str) -> None:
    from slt.data.video import frames_at, probe, read_frames, target_rate

    film = root / f"film.{ending}"
    faults = []
    for read in (
        lambda: list(read_frames(film, fps=target_rate(probe(film), None, 30.0))),
        lambda: list(read_frames(film, fps=7.0, start=0.3, end=0.7)),
        lambda: list(frames_at(film, [0.0, 0.5])),
    ):
        try:
            read()
        except ValueError as error:
            faults.append(error)
    if faults:
        raise faults[0]


def read_points(root: Path, *, file: str) -> None:
    from slt.data.films import Source
    from slt.data.keypoints import clip_names, read_keypoints

    if file.endswith(".h5"):
        clip_names(root / file)
    read_keypoints(Source("clip", root / file, 0.0, 0.5, {}))


def read_checkpoint(root: Path) -> None:
    from slt.export import open_run

    open_run(root)


def read_weights(root: Path, *, file: str) -> None:
    from slt.models import ConvSmall
    from slt.models.backbones import check_stream

    check_stream(str(root / file), "face")
    ConvSmall(**NETWORK, weights=str(root / file))


def read_export(root: Path, *, encoder: str) -> None:
    from slt.demo import build_extractor, rebuild
    from slt.realtime.models import open_translator
    from slt.realtime.translator import Inputs

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

    from slt.config import CONF, check

    command, *overrides = json.loads((root / "argv.json").read_text())
    with hydra.initialize_config_dir(str(CONF), version_base=None):
        check(hydra.compose(command, overrides=overrides))


# ---------------------------------------------------------------- who damages


def damage_file(dice: random.Random, root: Path, *, files: Sequence[str], how: Callable[..., bytes]) -> None:
    path = root / dice.choice(files)
    path.write_bytes(how(path.read_bytes(), dice))


def damage_index(dice: random.Random, root: Path) -> None:
    name = dice.choice(("index/train.csv", "index/val.csv", "index/SHA256SUMS", "metadata.jsonl", "corpus.json"))
    path = root / name
    if name.endswith("SHA256SUMS"):
        path.write_text("0" * 64 + "  train.csv\n")
    if name == "corpus.json":
        path.write_bytes(mutations.mangle_json(path.read_bytes(), dice))
    elif name == "metadata.jsonl" and dice.random() < 0.6:
        lines = path.read_bytes().splitlines()
        lines[dice.randrange(len(lines))] = mutations.mangle_json(lines[0], dice)
        path.write_bytes(b"\n".join(lines))
    else:
        path.write_bytes(mutations.mangle_lines(path.read_bytes(), dice, NAMES, ";"))


def damage_weights(dice: random.Random, root: Path) -> None:
    how = {".json": mutations.mangle_json, ".safetensors": mutations.mangle_safetensors}
    path = dice.choice(sorted(root.iterdir()))
    pickled = partial(mutations.mangle_zip, entry=_pickle)
    path.write_bytes(how.get(path.suffix, pickled)(path.read_bytes(), dice))


def damage_checkpoint(dice: random.Random, root: Path) -> None:
    import torch

    path = root / "checkpoints" / "best.pt"
    kind = dice.randrange(10)
    if kind < 3:
        path.write_bytes(mutations.mangle_zip(path.read_bytes(), dice, _pickle))
        return
    payload = torch.load(path, weights_only=True)
    if kind == 3:
        place = dice.choice(list(payload))
        payload[place] = dice.choice((mutations.Bomb(), None, 3, -1, 2**40, "x", [], {}, torch.zeros(2)))
        if dice.random() < 0.3:
            del payload[place]
    elif kind <= 6:
        payload["config"] = _damage_yaml(payload["config"], dice)
    elif kind == 7:
        payload["hf_config"] = mutations.mangle_json(payload["hf_config"].encode(), dice).decode("utf-8", "replace")
    elif kind == 8:
        name = dice.choice(list(payload["tokenizer"]))
        data = mutations.mangle_json(bytes(payload["tokenizer"][name].tolist()), dice)
        data = torch.frombuffer(bytearray(data or b" "), dtype=torch.uint8)
        payload["tokenizer"][dice.choice((name, name, name, "../x", "x.py"))] = data
    else:
        name = dice.choice(("shapes", "glosses", "model"))
        if name == "model":
            tensor = dice.choice(list(payload["model"]))
            old = payload["model"][tensor]
            payload["model"][tensor] = dice.choice((torch.zeros(3), None, torch.zeros(0), old.double(), 3))
        else:
            payload[name] = mutations.mangle_value(payload[name], dice)
    torch.save(payload, path)


def _pickle(_: str, part: bytes, dice: random.Random) -> bytes:
    command = b"cos\nsystem\n(S'touch canary'\ntR."
    return mutations.mangle(part, dice, (command, b"cposix\nsystem\n", b"c__builtin__\nexec\n", b"\x80\x02", b"."))


def _damage_yaml(text: str, dice: random.Random) -> str:
    import yaml

    if dice.random() < 0.25:
        tokens = [*mutations.STRINGS, *[mutations.LAUGHS] * 5, "!!python/name:os.system"]
        text = text if dice.random() < 0.8 else f"{mutations.LAUGHS}{text}"
        changed = mutations.mangle(text.encode(), dice, [token.encode("utf-8", "replace") for token in tokens])
        return changed.decode("utf-8", "replace")
    value = yaml.safe_load(text)
    built = [group for group in ("streams", "projector", "fusion", "temporal", "decoder", "dataset") if group in value]
    group = dice.choice(built)
    value[group] = mutations.mangle_value(value[group], dice)
    if dice.random() < 0.3 and isinstance(value[group], dict):
        value[group] = value[group] | dice.choice(mutations.TARGETS)
    try:
        return yaml.safe_dump(value, allow_unicode=True)
    except (RecursionError, yaml.YAMLError):
        return "[" * 3000


def damage_export(dice: random.Random, root: Path) -> None:
    manifest = root / "manifest.json"
    values = json.loads(manifest.read_bytes())
    signed = dice.random() < 0.8
    kind = dice.randrange(4)
    changed: dict[str, bytes] = {}
    if kind < 2:
        values = mutations.mangle_value(values, dice)
        if dice.random() < 0.2 and isinstance(values, dict):
            target = dice.choice(mutations.TARGETS)
            parameters = {"landmarks": target, "crop_size": target} if dice.random() < 0.5 else target
            values["extractor_settings"] = {"name": "x", "version": "1", "parameters": parameters}
    else:
        name = dice.choice([name for name in values["files"] if not name.endswith(".ts")])
        data = (root / name).read_bytes()
        how = mutations.mangle_json if name.endswith(".json") else mutations.mangle
        changed[name] = how(data, dice)
        (root / name).write_bytes(changed[name])
    try:
        if signed and isinstance(values, dict):
            manifest.write_bytes(mutations.sign(values, changed))
        elif kind < 2:
            manifest.write_bytes(json.dumps(values).encode("utf-8", "surrogatepass"))
    except (RecursionError, ValueError, TypeError):
        manifest.write_bytes(b"[" * 5000)


@cache
def _keys(command: str) -> list[str]:
    from slt.entry import known_keys

    return known_keys(command)


def damage_config(dice: random.Random, root: Path) -> None:
    command = dice.choice(("train", "train", "eval", "export", "extract", "demo", "pretrain"))
    overrides = []
    for _ in range(dice.choice((1, 1, 2, 4))):
        key = dice.choice(_keys(command))
        value = dice.choice((*mutations.STRINGS, *map(str, mutations.NUMBERS), *VALUES))
        text = f"{dice.choice(('', '', '', '+', '++', '~'))}{key}={value}"
        if dice.random() < 0.3:
            text = mutations.mangle(text.encode("utf-8", "surrogatepass"), dice).decode("utf-8", "replace")
        overrides.append(text)
    (root / "argv.json").write_text(json.dumps([command, *overrides]))


def _text(separator: str, tokens: Sequence[str] = ()) -> Callable[[bytes, random.Random], bytes]:
    return lambda data, dice: mutations.mangle_lines(data, dice, (*NAMES, *tokens), separator)


def _npz(data: bytes, dice: random.Random) -> bytes:
    return mutations.mangle_zip(data, dice, lambda _, part, dice: mutations.mangle_npy(part, dice))


def _film(data: bytes, dice: random.Random) -> bytes:
    return mutations.mangle(data, dice, BOXED)


def targets() -> dict[str, Target]:
    """Return all kinds of input by name."""
    corpus = [("train", read_clips), ("extract", check), ("train", fingerprints)]

    def clip(weight: int, files: Sequence[str], how: Callable[..., bytes]) -> Target:
        return Target(weight, "corpus", partial(damage_file, files=files, how=how), corpus)

    both = NAMES[:2]
    packed = [f"{part}/{name}.safetensors" for part in ("face", "hand_l") for name in both]
    found = {
        "subs.csv": clip(5, ["subs.csv"], _text(";")),
        "index": Target(5, "corpus", damage_index, corpus),
        "npz": clip(6, [f"pose/{name}.npz" for name in both], _npz),
        "npy": clip(3, [f"feats/{name}.npy" for name in both], mutations.mangle_npy),
        "safetensors": clip(6, packed, mutations.mangle_safetensors),
        "jpeg": clip(5, [f"hand_r/{name}_f{n:06d}.jpg" for n in range(FRAMES) for name in both], mutations.mangle),
        "pose": Target(6, "poses", partial(damage_file, files=["film.pose"], how=mutations.mangle),
                       [("extract", partial(read_points, file="film.pose"))]),
        "h5": Target(3, "poses", partial(damage_file, files=["keypoints.h5"], how=mutations.mangle),
                     [("extract", partial(read_points, file="keypoints.h5"))]),
        "weights": Target(2, "weights", damage_weights, [
            ("train", partial(read_weights, file=file)) for file in ("backbone_face.safetensors", "backbone.pt")
        ]),
        "boxes": Target(3, "captions_subs", partial(damage_file, files=["boxes.csv"], how=_text(";")),
                        [("extract", partial(read_sources, format="subs", boxes=True))]),
        "checkpoint": Target(4, "run", damage_checkpoint, [("demo", read_checkpoint)]),
        "export": Target(4, "export", damage_export, [("demo", partial(read_export, encoder="onnx"))]),
        "command line": Target(2, "config", damage_config, [("train", read_config)], names=False),
    }  # fmt: skip
    for name, (file, _) in CAPTIONS.items():
        how = mutations.mangle_json if name == "subtitles" else _text("," if name == "lsa_t" else ";", CUE)
        reads = [("extract", partial(read_sources, format=name))]
        found[f"captions {name}"] = Target(5, f"captions_{name}", partial(damage_file, files=[file], how=how), reads)
    for ending, weight in {"mp4": 6, "mkv": 4, "webm": 4, "avi": 2, "mov": 2, "gif": 2}.items():
        reads = [("extract", partial(read_film, ending=ending))]
        found[ending] = Target(weight, "films", partial(damage_file, files=[f"film.{ending}"], how=_film), reads)
    return found
