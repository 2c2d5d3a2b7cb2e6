"""What `fuzz.py` damages, how, and who of `fuzz_readers.py` reads it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import yaml
from bench import fuzz_mutations as mutations
from bench import fuzz_readers as readers
from bench.fuzz_seeds import CAPTIONS, FILMS, FRAMES, NAMES

CUE = ("-->", "00:00:01,000 --> 00:00:00,500", "99:59:59.999 --> 100:00:00.000", "WEBVTT", "NOTE", "STYLE", "\n\n")
VALUES = ("[1,2]", "{a:1}", "synthetic", "lsa_t", "vit_light", "[", "{", "{a:", "'", "choice(1,2)", "range(1,3)",
          "${now:%Y}", "???", "a" * 5000, "[" * 500)  # fmt: skip
BOXED = (b"moov", b"mdat", b"trak", b"stsz", b"elst", b"mvhd", b"\x1aE\xdf\xa3", b"RIFF", b"GIF89a")


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

    weight: float
    folder: str
    damage: Callable[[random.Random, Path], None]
    reads: Sequence[tuple[str, Callable[[Path], object]]]
    names: bool = True


# ---------------------------------------------------------------- who damages


def damage_file(dice: random.Random, root: Path, *, files: Sequence[str], how: Callable[..., bytes]) -> None:
    path = root / dice.choice(files)
    path.write_bytes(how(path.read_bytes(), dice))


def damage_any(dice: random.Random, root: Path, *, names: bool = False) -> None:
    """Damage one of the files below a folder by what its name says that it is, or give it another name."""
    path = dice.choice(sorted(path for path in root.rglob("*") if path.is_file()))
    how = {".json": mutations.mangle_json, ".csv": _text(","), ".tsv": _text("\t"), ".yaml": _yaml, ".jsonl": _jsonl}
    if names and dice.random() < 0.2:
        path.rename(path.with_name(dice.choice(("x.png", f"{path.stem}1{path.suffix}", path.name + ".x"))))
    else:
        path.write_bytes(how.get(path.suffix, mutations.mangle)(path.read_bytes(), dice))


def damage_index(dice: random.Random, root: Path) -> None:
    name = dice.choice(("index/train.csv", "index/val.csv", "index/SHA256SUMS", "metadata.jsonl", "corpus.json"))
    path = root / name
    if name.endswith("SHA256SUMS"):
        path.write_text("0" * 64 + "  train.csv\n")
    if name == "corpus.json":
        path.write_bytes(mutations.mangle_json(path.read_bytes(), dice))
    elif name == "metadata.jsonl" and dice.random() < 0.6:
        path.write_bytes(_jsonl(path.read_bytes(), dice))
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
    if dice.random() < 0.25:
        tokens = [*mutations.STRINGS, *[mutations.LAUGHS] * 5, "!!python/name:os.system"]
        text = text if dice.random() < 0.8 else f"{mutations.LAUGHS}{text}"
        changed = mutations.mangle(text.encode(), dice, [token.encode("utf-8", "replace") for token in tokens])
        return changed.decode("utf-8", "replace")
    value = yaml.safe_load(text)
    named = ("streams", "projector", "fusion", "temporal", "decoder", "dataset")
    if not isinstance(value, dict) or not (built := [group for group in named if group in value]):
        return text + dice.choice(mutations.STRINGS)
    group = dice.choice(built)
    value[group] = mutations.mangle_value(value[group], dice)
    if dice.random() < 0.3 and isinstance(value[group], dict):
        value[group] = value[group] | dice.choice(mutations.TARGETS)
    try:
        return yaml.safe_dump(value, allow_unicode=True)
    except (RecursionError, yaml.YAMLError):
        return "[" * 3000


def damage_torchscript(dice: random.Random, root: Path) -> None:
    manifest, path = root / "manifest.json", root / "encoder_export.ts"
    changed = mutations.mangle_zip(path.read_bytes(), dice, _pickle)
    path.write_bytes(changed)
    if dice.random() < 0.6:
        manifest.write_bytes(mutations.sign(json.loads(manifest.read_bytes()), {path.name: changed}))


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
    from slt.config.messages import known_keys

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


def _jsonl(data: bytes, dice: random.Random) -> bytes:
    lines = data.splitlines()
    lines[dice.randrange(len(lines))] = mutations.mangle_json(lines[0], dice)
    return b"\n".join(lines)


def _yaml(data: bytes, dice: random.Random) -> bytes:
    value = mutations.mangle_value(yaml.safe_load(data), dice)
    text = _damage_yaml(data.decode(), dice) if dice.random() < 0.3 else ""
    try:
        return (text or yaml.safe_dump(value, allow_unicode=True)).encode("utf-8", "surrogatepass")
    except (RecursionError, yaml.YAMLError):
        return b"[" * 3000


def _npz(data: bytes, dice: random.Random) -> bytes:
    return mutations.mangle_zip(data, dice, lambda _, part, dice: mutations.mangle_npy(part, dice))


def _film(data: bytes, dice: random.Random) -> bytes:
    return mutations.mangle(data, dice, BOXED)


def targets() -> dict[str, Target]:
    """Return all kinds of input by name."""
    corpus = [("train", readers.read_clips), ("extract", readers.check), ("train", readers.fingerprints)]

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
                       [("extract", partial(readers.read_points, file="film.pose"))]),
        "h5": Target(3, "poses", partial(damage_file, files=["keypoints.h5"], how=mutations.mangle),
                     [("extract", partial(readers.read_points, file="keypoints.h5"))]),
        "weights": Target(2, "weights", damage_weights, [
            ("train", partial(readers.read_weights, file=file)) for file in ("backbone_face.safetensors", "backbone.pt")
        ]),
        "boxes": Target(3, "captions_subs", partial(damage_file, files=["boxes.csv"], how=_text(";")),
                        [("extract", readers.read_boxes)]),
        "openpose": Target(5, "openpose", partial(damage_any, names=True), [("extract", readers.read_openpose)]),
        "pictures": Target(4, "pictures", partial(damage_any, names=True), [("extract", readers.read_pictures)]),
        "extraction": Target(3, "extraction", damage_any, [("extract", readers.read_extraction)]),
        "overview": Target(1.5, "extraction", damage_any, [("extract", readers.write_overview)]),
        "runs": Target(4, "runs", damage_any, [("train", readers.read_runs), ("train", readers.resume)]),
        "sweep page": Target(1.5, "runs", damage_any, [("train", readers.write_page)]),
        "torchscript": Target(2, "export", damage_torchscript, [("demo", partial(readers.read_export, encoder="ts"))]),
        "checkpoint": Target(4, "run", damage_checkpoint, [("demo", readers.read_checkpoint)]),
        "export": Target(4, "export", damage_export, [("demo", partial(readers.read_export, encoder="onnx"))]),
        "command line": Target(2, "config", damage_config, [("train", readers.read_config)], names=False),
    }  # fmt: skip
    parted = {"lsa_t": ",", "commas": ",", "tabs": "\t"}
    for name, (format, file, _) in CAPTIONS.items():
        how = mutations.mangle_json if name == "subtitles" else _text(parted.get(name, ";"), CUE)
        reads = [("extract", partial(readers.read_sources, format=format))]
        found[f"captions {name}"] = Target(4, f"captions_{name}", partial(damage_file, files=[file], how=how), reads)
    for ending, weight in {**dict.fromkeys(FILMS, 2), "mp4": 6, "mkv": 4, "webm": 4}.items():
        reads = [("extract", partial(readers.read_film, ending=ending))]
        found[ending] = Target(weight, "films", partial(damage_file, files=[f"film.{ending}"], how=_film), reads)
    return found
