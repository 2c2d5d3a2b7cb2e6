"""The exported folder: graphs, tokenizer and manifest, made whole or not at all."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slt.evaluation.metrics import bleu
from slt.exporting import graphs, parity
from slt.exporting.card import Facts, card
from slt.exporting.hub import CARD
from slt.exporting.precision import PRECISIONS, Converted, convert
from slt.exporting.tokens import write_tokenizer
from slt.files import write_json
from slt.inference.checkpoint import CheckpointTranslator
from slt.inference.onnx import OnnxTranslator
from slt.models.backbones import ImageBackbone
from slt.models.signature import GraphSpec, Manifest, write_manifest
from slt.models.trained import Trained
from slt.streams.normalise import NORMALISATIONS
from slt.training import lineage
from slt.training.weights import write_weights

LIBRARIES = ("slt", "torch", "transformers", "timm", "tokenizers", "onnx", "onnxruntime", "onnxscript", "numpy")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What an export is held against its model on.

    Attributes:
        clips: the split whose sentences are compared.
        batches: random ones, and as many real ones, that graphs and model are asked.
        limit: only so many clips' sentences; None = the whole split.
    """

    clips: Any
    batches: int
    limit: int | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What stands beside the graphs: the checkpoint itself, and what its card says.

    Attributes:
        payload: of `load_checkpoint`.
        facts: of the card.
    """

    payload: Mapping[str, Any]
    facts: Facts


def export_folder(
    trained: Trained,
    out: Path,
    compared: Comparison,
    *,
    name: str,
    precision: str,
    program: bool,
    say: Callable[[str], None],
    beside: Beside | None = None,
) -> Manifest:
    """Export a trained translator, prove that it is the same, and put it at `out`, which must not be there.

    Args:
        trained: on the CPU, in float32.
        out: the folder; nothing is left there where something fails.
        compared: what proves it.
        name: in the files' names.
        precision: of the ONNX graphs: fp32, fp16 or int8; TorchScript stays fp32.
        program: also write the encoder as a torch.export program.
        say: takes lines of the report.
        beside: weights and card; None = neither is written.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision}: expected one of {', '.join(PRECISIONS)}")
    with _whole(out) as folder:
        specs, opset = _write_graphs(trained, folder, name, program)
        write_tokenizer(folder, trained.tokenizer)
        write_json(folder / lineage.FILE, trained.seen)
        if beside is not None:
            write_weights(folder, beside.payload, trained.translator)
        files = {graph: folder / f"{graph}_{name}.onnx" for graph in specs}
        files["torchscript"] = folder / f"encoder_{name}.ts"
        asked = compared.batches, compared.seed
        given = [*parity.random_batches(trained, *asked), *parity.real_batches(trained, compared.clips, *asked)]
        found: dict[str, Any] = {"tolerance": parity.TOLERANCE, "batches": [one.name for one in given]}
        found["largest_difference"] = parity.compare_graphs(trained, files, given, strict=True)
        said = ", ".join(f"{graph} {value:.1e}" for graph, value in found["largest_difference"].items())
        say(f"largest difference from the model over {len(given)} batches, {parity.TOLERANCE:g} allowed: {said}")
        if precision != "fp32":
            converted = {graph: convert(files[graph], precision) for graph in specs}
            found[precision] = parity.compare_graphs(trained, files, given, strict=False)
            say(_about(precision, converted, found[precision]))
        manifest = _manifest(trained, name, specs, opset, precision)
        write_manifest(folder, manifest)
        found |= _compare_sentences(trained, folder, compared, precision, say)
        manifest = write_manifest(folder, replace(manifest, parity=found))
        if beside is not None:  # after the manifest, which does not list it
            (folder / CARD).write_text(card(manifest, beside.facts), encoding="utf-8")
    return manifest


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Give a scratch folder beside `out`, which becomes `out` at the end, or goes."""
    if out.exists():
        raise ValueError(f"out={out}: is there already; remove it, or give another name")
    scratch = out.with_name(f".{out.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed export left
    scratch.mkdir(parents=True)
    try:
        yield scratch
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_graphs(trained: Trained, folder: Path, name: str, program: bool) -> tuple[dict[str, GraphSpec], int]:
    """Write the three ONNX graphs, TorchScript and, where asked for, the program; return specs and opset."""
    made = {
        "encoder": graphs.encoder_graph(trained.translator, trained.streams),
        **graphs.decoder_graphs(trained.translator.decoder),
    }
    opset = 0
    for graph, exportable in made.items():
        opset = graphs.to_onnx(exportable, folder / f"{graph}_{name}.onnx")
    graphs.to_torchscript(made["encoder"], folder / f"encoder_{name}.ts")
    if program:
        graphs.to_program(made["encoder"], folder / f"encoder_{name}.pt2")
    return {graph: exportable.spec for graph, exportable in made.items()}, opset


def _manifest(trained: Trained, name: str, specs: dict[str, GraphSpec], opset: int, precision: str) -> Manifest:
    backbones = trained.translator.encoder.backbones
    pictures = {stream: module for stream, module in backbones.items() if isinstance(module, ImageBackbone)}
    names = sorted({NORMALISATIONS[spec.normalise].__name__ for spec in trained.streams if spec.normalise})
    normalisation: dict[str, Any] = {"pose": {"where": "before", "function": ", ".join(names)}}
    if pictures:
        each = {what: {stream: (getattr(module, what).flatten() / 255).tolist() for stream, module in pictures.items()}
                for what in ("mean", "std")}  # fmt: skip
        normalisation["crops"] = {"where": "in graph", **each}
    there = {library: _version(library) for library in LIBRARIES}
    return Manifest(
        name=name, streams=trained.streams, graphs=specs, normalisation=normalisation, fps=trained.fps,
        max_frames=trained.max_frames, extractor=trained.extractor, extractor_settings=trained.extractor_settings,
        tokens=trained.tokens, num_layers=len(specs["cross"].outputs) // 2, search=trained.search, precision=precision,
        confidence=trained.confidence, opset=opset, parity={},
        versions={library: version for library, version in there.items() if version},
    )  # fmt: skip


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _about(precision: str, converted: dict[str, Converted], differences: dict[str, float]) -> str:
    said = ", ".join(f"{graph} {value:.1e}" for graph, value in differences.items() if graph != "torchscript")
    if precision != "int8":
        return f"{precision}: largest difference {said}"
    products = ", ".join(f"{one.products} in {graph}" for graph, one in converted.items())
    kept = ", ".join(f"{count} {kind} in {graph}" for graph, one in converted.items()
                     for kind, count in one.kept.items())  # fmt: skip
    return f"int8: matrix products quantised: {products}; stay float32: {kept or 'none'}; largest difference {said}"


def _compare_sentences(
    trained: Trained, folder: Path, compared: Comparison, precision: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write the folder's sentences beside the checkpoint's; in fp32 they are the same or the export fails."""
    clips, asked = compared.clips, CheckpointTranslator(trained, precision="fp32")
    found = parity.write_sentences(trained, OnnxTranslator(folder), asked, clips, compared.limit)
    report: dict[str, Any] = {"split": clips.split, "clips": len(found[0].ids), "differing": {}, "bleu": {}}
    for one in found:
        if precision == "fp32":
            one.refuse_differing(folder.name.removeprefix(".").removesuffix(".part"))
        scores = one.bleu
        report["differing"][one.kind], report["bleu"][one.kind] = len(one.differing), scores
        say(
            f"{one.kind} ({one.beams} beam{'s' * (one.beams > 1)}), {clips.split}: {len(one.differing)} of "
            f"{len(one.ids)} sentences differ from the checkpoint's; BLEU {scores['checkpoint']:.2f} before, "
            f"{scores['exported']:.2f} after, loss {scores['checkpoint'] - scores['exported']:.2f}"
        )
    if trained.precision != "fp32":
        report["evaluated_in"] = _as_evaluated(trained, clips, found[-1], say)
    return {"sentences": report}


def _as_evaluated(trained: Trained, clips: Any, found: parity.Sentences, say: Callable[[str], None]) -> dict[str, Any]:
    """Count the sentences that the run's own precision (bf16) writes otherwise: what slt.eval printed used it."""
    translator = CheckpointTranslator(trained)
    told = [best.text for inputs in parity.chunks(clips, len(found.ids))
            for (best,) in translator.translate_batch(inputs, num_beams=found.beams, nbest=1)]  # fmt: skip
    other = sum(text != came.text for text, came in zip(told, found.came, strict=True))
    score = bleu(told, found.references)
    say(f"{found.kind}, evaluated in {trained.precision} as in training: {other} sentences differ; BLEU {score:.2f}")
    return {"precision": trained.precision, "differing": other, "bleu": score}
