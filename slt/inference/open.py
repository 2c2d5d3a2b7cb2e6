"""From what `model=` names to a translator, and to the extractor settings that its training clips were made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from slt.corpora.provenance import refuse_other_extractor
from slt.extraction.regions import STREAMS, Extractor
from slt.inference.onnx import OnnxTranslator, SentenceTranslator
from slt.models.signature import FILE, read_manifest
from slt.workers import cores

if TYPE_CHECKING:
    from slt.models.trained import Trained

# What the embedded corpus marks its clips with: no landmarker ever saw them.
EMBEDDED = "synthetic-"


@dataclass(frozen=True)
class Opened:
    """A model that can translate, what is known of the extractor of its training clips, and what it is, in a line."""

    translator: SentenceTranslator
    extractor_settings: Mapping[str, Any] | None
    about: str


def open_translator(
    model: Path,
    *,
    encoder: str,
    tokenizer: str | None,
    device: str,
    threads: int | None,
    search: Mapping[str, Any],
    rebuild: Callable[[Path], Trained],
) -> Opened:
    """Open an exported folder or a checkpoint.

    Args:
        model: exported folder, run folder or .pt file.
        encoder: of an exported folder: "onnx", "ts" (TorchScript) or "torch" (the whole model by its weights).
        tokenizer: folder or hub name of a Hugging Face tokenizer in place of the model's own.
        device: "auto", "cpu", "cuda" or "cuda:N"; with onnxruntime "auto" is the CPU.
        threads: of onnxruntime; None = one a core.
        search: keywords of `SentenceTranslator.write`, looked at before a film is.
        rebuild: makes a model of a checkpoint.
    """
    if (exported := (model / FILE).is_file()) and encoder != "torch":
        return _exported(model, encoder, tokenizer, device, threads, search)
    if not model.exists():
        raise FileNotFoundError(f"model={model}: no such folder or file")
    if model.is_dir() and not exported and not _is_run(model):
        raise ValueError(
            f"model={model}: neither an exported folder ({FILE} is missing; `python -m slt.export checkpoint=RUN "
            "out=FOLDER` makes one) nor a run (no checkpoints/best.pt)"
        )
    return _weights(model, encoder, tokenizer, device, search, rebuild)


def _weights(
    model: Path,
    encoder: str,
    tokenizer: str | None,
    device: str,
    search: Mapping[str, Any],
    rebuild: Callable[[Path], Trained],
) -> Opened:
    """Open a checkpoint, or the weights of an exported folder, with torch."""
    manifest = read_manifest(model) if (model / FILE).is_file() else None  # holds every file against its digest
    if manifest is None and encoder != "onnx":
        raise ValueError(f"encoder={encoder}: only an exported folder has one; {model} is a checkpoint")
    from slt.inference.checkpoint import CheckpointTranslator
    from slt.training.machine import choose_device  # here: an exported folder needs no torch

    trained = rebuild(model)
    translator = CheckpointTranslator(trained, device=choose_device(device))
    if manifest is not None:
        translator.search = manifest.search
    translator.asked(**search)  # what it cannot do would fail at the first sentence, which may be minutes away
    if tokenizer is not None:
        from slt.models.tokenizer import load_tokenizer

        chosen = load_tokenizer(tokenizer)
        _refuse_tokenizer(tokenizer, trained.tokenizer.get_vocab(), chosen.get_vocab())
        translator.trained = replace(trained, tokenizer=chosen)
    if manifest is not None:
        return Opened(translator, manifest.extractor_settings, f"weights of {model} ({translator.device})")
    return Opened(translator, trained.extractor_settings, f"checkpoint {model} ({translator.device})")


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("best.pt", "checkpoints/best.pt"))


def share_cores(threads: int | None, *, live: bool) -> int | None:
    """Return how many threads onnxruntime gets: what is asked for, else one a core, and live half of the cores.

    Live, landmarks are looked for while sentences are written. On two cores the live path has 0.99 of the frames/s of
    the landmarkers alone with one thread, and 0.97 (beside other work 0.88) with two; see tests/bench/live.py.
    """
    if threads is not None or not live:
        return threads
    return max(1, cores() // 2)


def _exported(
    model: Path, encoder: str, tokenizer: str | None, device: str, threads: int | None, search: Mapping[str, Any]
) -> Opened:
    """Open an exported folder."""
    translator: OnnxTranslator
    if encoder == "ts":
        from slt.inference.checkpoint import TorchScriptTranslator
        from slt.training.machine import choose_device

        chosen = choose_device(device)
        translator = TorchScriptTranslator(model, device=chosen, threads=threads)
        about = f"TorchScript encoder ({chosen}), decoder with onnxruntime"
    else:
        gpu = device.startswith("cuda")
        translator = OnnxTranslator(model, providers=["CUDAExecutionProvider"] if gpu else None, threads=threads)
        about = "onnxruntime" + (" (cuda)" if gpu else "")
    translator.asked(**search)
    if tokenizer is not None:
        other = read_tokenizer(tokenizer)
        _refuse_tokenizer(tokenizer, translator.tokenizer.get_vocab(), other.get_vocab())
        translator.tokenizer = other
    precision = translator.manifest.precision
    return Opened(translator, translator.manifest.extractor_settings, f"{model}: {about}, {precision}")


def read_tokenizer(name_or_folder: str) -> Any:
    """Read a Hugging Face tokenizer from its folder, its tokenizer.json, or by its name on the hub."""
    path = Path(name_or_folder)
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        try:
            return Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises nothing more special
            raise ValueError(f"tokenizer={name_or_folder}: {file} is no tokenizer ({error})") from error
    from slt.models.tokenizer import load_tokenizer  # here: only this way needs transformers

    loaded = load_tokenizer(name_or_folder)
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(f"tokenizer={name_or_folder}: {type(loaded).__name__} has no fast form; use a checkpoint "
                         "as the model, not an exported folder")  # fmt: skip
    return backend


def _refuse_tokenizer(name: str, expected: Mapping[str, int], came: Mapping[str, int]) -> None:
    """Refuse a tokenizer whose numbers mean other tokens than the model's own: it would write another language."""
    other = [token for token, number in expected.items() if came.get(token) != number]
    if other:
        token = min(other, key=expected.__getitem__)
        there = f"has number {came[token]} there" if token in came else "is not there"
        raise ValueError(
            f"tokenizer={name}: the tokenizer of another model: {len(other)} of this one's {len(expected)} tokens have "
            f"other numbers; {token!r}, number {expected[token]} of the model, {there}"
        )


def fit_extractor(
    settings: Mapping[str, Any] | None, landmarker: Mapping[str, Any], extractor: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Set the keys of `conf/extractor/` as they were for the training clips of a model.

    Returns both groups, and what changed, as `extractor.crop_size=112`; but for how the signer is chosen, which is for
    whoever uses the model to say.
    """
    parameters = (settings or {}).get("parameters") or {}
    landmarks = parameters.get("landmarks") or {} if isinstance(parameters, Mapping) else None
    # What they name must not be built: they come from whoever gave the model away.
    if not isinstance(landmarks, Mapping) or "_target_" in str(parameters):
        raise ValueError(f"{FILE}: extractor_settings: keys with plain values expected, came {str(parameters)[:200]}")
    made: list[dict[str, Any]] = []
    changed = []
    groups = (("landmarker", landmarker, landmarks), ("extractor", extractor, parameters))
    for group, keys, wanted in groups:
        made.append({key: wanted.get(key, value) for key, value in keys.items()})
        changed += [f"{group}.{key}={made[-1][key]}" for key in keys if made[-1][key] != keys[key] and key != "signer"]
    return made[0], made[1], changed


def refuse_unfit(translator: SentenceTranslator, extractor: Extractor, *, where: str, allowed: bool) -> None:
    """Refuse a model that cannot read what an extractor cuts out of pictures, or, if not `allowed`, should not."""
    for stream in translator.streams:
        if stream.kind == "features" or (stream.kind == "crops" and stream.name not in STREAMS):
            raise ValueError(
                f"stream {stream.name!r} ({stream.kind}) of the model is not made from pictures; of films and cameras "
                f"there are the crops {', '.join(STREAMS)} and a pose"
            )
    if (translator.extractor or "").startswith(EMBEDDED) and not allowed:
        raise ValueError(
            f"{where}: the model was trained on the embedded corpus, whose invented signs are drawn by code and have "
            "never been through a landmarker: of real people it can only write nonsense. Take a model that was trained "
            "on films, or set other_extractor=true to watch it do that"
        )
    refuse_other_extractor(translator.extractor, extractor.fingerprint, where=where, allowed=allowed)
