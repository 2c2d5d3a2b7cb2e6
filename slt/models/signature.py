"""The exported folder's manifest: what is in the folder, what goes into its graphs, and proof that no byte has changed.

`manifest.json` is one object with these keys, all of them always there (`null` where a thing is not known):

- `format`: 1. A reader refuses a number that it does not know.
- `name`: NAME; the graphs are `encoder_NAME.onnx`, `encoder_NAME.ts`, `cross_NAME.onnx`, `decoder_NAME.onnx`.
- `streams`: list of {`name`, `kind` crops | pose | features, `dtype`, `shape` of one frame, `folder` in the corpus,
  `points` and `normalise` of a pose or null, `size` of crops or null}, in the order of the encoder's inputs.
- `graphs`: `encoder`, `cross`, `decoder` -> {`inputs`, `outputs`}, each a list of {`name`, `shape`, `dtype`} in order;
  a number in a shape is fixed, a letter may be any length (B clips, T frames, T' frames after the temporal encoder,
  N hypotheses, L tokens of the past, L + 1).
- `normalisation`: kind -> what is done, and where: {`crops`: {`where`: "in graph", `mean`, `std`}, `pose`: {`where`:
  "before", `function`: "centre_on_shoulders", or what a stream's `normalise` names}}.
- `fps`, `max_frames`: frames a second and frames a clip that the training dataset kept; null = all.
- `extractor`: fingerprint of what cut the training crops, or null; `extractor_settings`: {`name`, `version`,
  `parameters`} or null.
- `tokens`: {`start`, `eos`, `pad`, `forced_bos` or null}.
- `num_layers`: of the decoder.
- `search`: {`num_beams`, `length_penalty`, `max_tokens`}, what is done where the caller does not say otherwise.
- `confidence`: {`good_chrf`, `num_beams`, `length_penalty`, `bias`, `signals`: name -> {`centre`, `scale`, `weight`}},
  see `slt.models.confidence`; null of a run that does not say how sure it is. Folders of before have no such key.
- `precision`: fp32 | fp16 | int8; `opset`; `versions`: library -> version.
- `parity`: what was compared at the export, and the largest differences.
- `files`: path in the folder -> sha256, of every file but the manifest.
- `sha256`: of the manifest's other keys, so that a change in it shows too.

Shape letters: T frames, and those above.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from slt.files import sha256
from slt.models.confidence import Confidence
from slt.models.search import Search, Tokens
from slt.streams.sample import StreamSpec

FORMAT = 1
FILE = "manifest.json"
GRAPHS = ("encoder", "cross", "decoder")


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a graph; in `shape` a number is fixed and a letter may be any length."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """What goes into a graph and comes out of it, in its order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """See the head of this file; `files` is filled by `write_manifest`."""

    name: str
    streams: tuple[StreamSpec, ...]
    graphs: dict[str, GraphSpec]
    normalisation: dict[str, Any]
    fps: float | None
    max_frames: int | None
    extractor: str | None
    extractor_settings: dict[str, Any] | None
    tokens: Tokens
    num_layers: int
    search: Search
    precision: str
    opset: int
    versions: dict[str, str]
    parity: dict[str, Any]
    confidence: Confidence | None = None
    files: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        if set(self.graphs) != set(GRAPHS):
            raise ValueError(f"graphs: expected {', '.join(GRAPHS)}, came {', '.join(self.graphs)}")
        if min(self.fps or 1, self.max_frames or 1) <= 0 or self.num_layers < 1:
            raise ValueError(
                f"fps {self.fps}, max_frames {self.max_frames} and num_layers {self.num_layers}: expected above 0"
            )

    def graph_file(self, graph: str) -> str:
        """Return the name of the file of `encoder`, `cross` or `decoder`."""
        return f"{graph}_{self.name}.onnx"


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write `manifest.json` last of all, with the sha256 of every file that stands in `folder`; return it with them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / FILE)
    manifest = replace(manifest, files={path.relative_to(folder).as_posix(): sha256(path) for path in paths})
    values = asdict(manifest)
    del values["search"]["nbest"]  # of whoever asks
    values["sha256"] = _digest(values)
    (folder / FILE).write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return manifest


def read_manifest(folder: Path | str) -> Manifest:
    """Read the manifest of an exported folder and hold every file against it.

    Raises:
        FileNotFoundError: no such folder, no manifest, or a file that it lists is not there.
        ValueError: another format, a manifest that is none, or a file or manifest that has changed.
    """
    folder = Path(folder)
    path = folder / FILE
    if not path.is_file():
        what = "an exported folder without its manifest" if folder.is_dir() else "no such folder"
        raise FileNotFoundError(f"{path}: {what}; make it with `python -m slt.export checkpoint=RUN out={folder}`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = values["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: not a manifest ({error}); export the run again") from error
    if found != FORMAT:
        raise ValueError(
            f"{path}: format {FORMAT} expected, came {found!r}; read it with the version of slt that wrote it, or "
            "export the run again"
        )
    stated = values.pop("sha256", None)
    if stated != _digest(values):
        raise ValueError(
            f"{path}: was changed after the export (its own sha256 differs); options of the search are given to the "
            "translator, and for anything else export the run again"
        )
    try:
        manifest = _build(Manifest, values, "manifest")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a manifest of format {FORMAT} ({error}); export the run again") from error
    for name, digest in manifest.files.items():
        _check_file(folder, name, digest)
    for name in (manifest.graph_file(graph) for graph in GRAPHS):
        if name not in manifest.files:
            raise ValueError(f"{path}: lists no {name}; export the run again")
    return manifest


def _build(kind: Any, value: Any, where: str) -> Any:
    """Build what a field is declared as out of JSON's values; TypeError or ValueError where they do not fit."""
    parts, origin = get_args(kind), get_origin(kind)
    if origin is UnionType:
        for part in parts:
            if (get_origin(part) or part) is type(value):
                return _build(part, value, where)
        return _build(parts[0], value, where)
    if is_dataclass(kind) and isinstance(value, Mapping):
        hints = get_type_hints(kind)
        if kind is StreamSpec:  # before 'normalise' was a choice
            value = {"normalise": None} | dict(value)
        if kind is Manifest:
            value = {"confidence": None} | dict(value)
        if kind is Search:
            hints.pop("nbest")
        if set(value) != set(hints):
            raise ValueError(
                f"{where}: keys missing: {sorted(set(hints) - set(value))}, unknown: {sorted(set(value) - set(hints))}"
            )
        return kind(**{key: _build(hints[key], part, f"{where}.{key}") for key, part in value.items()})  # type: ignore[operator]
    if origin is tuple and isinstance(value, list):
        return tuple(_build(parts[0], part, f"{where}[{place}]") for place, part in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _build(parts[1], part, f"{where}.{key}") for key, part in value.items()}
    fits = type(value) is kind or (kind is float and type(value) is int) or (kind is NoneType and value is None)
    if kind is not Any and (not fits or (isinstance(value, float) and not math.isfinite(value))):
        raise TypeError(f"{where}: {getattr(kind, '__name__', kind)} expected, came {str(value)[:80]}")
    return value


def _check_file(folder: Path, name: str, digest: str) -> None:
    path = folder / name
    # A manifest from elsewhere must not make us open what lies outside its folder.
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder / FILE}: lists {name!r}, which is outside the folder")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, but {FILE} lists it; copy the whole folder, or export again")
    if (came := sha256(path)) != digest:
        raise ValueError(
            f"{path}: sha256 {digest[:12]} expected by {FILE}, came {came[:12]}; the file was changed or not copied "
            "whole: copy it again, or export the run again"
        )


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
