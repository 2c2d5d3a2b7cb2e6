"""Exportable modules to files: ONNX, TorchScript and torch.export programs with dynamic lengths.

Shape letters: B clips, T frames, T' frames after the temporal encoder, N hypotheses, L tokens of the past, H heads,
d head width, D the decoder's hidden size, V vocabulary.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slt.exporting.chunks import unfold
from slt.exporting.encoder import ExportedEncoder, Pictures
from slt.exporting.families import Cross, Step
from slt.models.signature import GraphSpec, StreamSpec, TensorSpec

# A protobuf file ends at 2 GiB; beyond this the weights of a graph stand in a file beside it.
LARGEST = 1_900_000_000


@dataclass(frozen=True)
class Exportable:
    """A module with what an exporter must know.

    Attributes:
        module: in evaluation mode.
        args: example inputs; every dynamic length is above one and unlike the others.
        spec: names, shapes with letters for dynamic lengths, and dtypes.
    """

    module: nn.Module
    args: tuple[Tensor, ...]
    spec: GraphSpec


def describe(module: nn.Module, args: Sequence[Tensor], inputs: Sequence[tuple[str, Sequence[int | str]]],
             outputs: Sequence[tuple[str, Sequence[int | str]]]) -> Exportable:  # fmt: skip
    """Runs a module once on its example and writes down names, shapes and dtypes."""
    module = module.eval()
    with torch.no_grad():
        found = module(*args)
    found = found if isinstance(found, tuple) else (found,)

    def specs(sides: Sequence[tuple[str, Sequence[int | str]]], tensors: Sequence[Tensor]) -> tuple[TensorSpec, ...]:
        out = []
        for (name, shape), tensor in zip(sides, tensors, strict=True):
            assert len(shape) == tensor.dim(), name
            assert all(isinstance(a, str) or a == b for a, b in zip(shape, tensor.shape, strict=True)), name
            out.append(TensorSpec(name=name, shape=tuple(shape), dtype=str(tensor.dtype).removeprefix("torch.")))
        return tuple(out)

    return Exportable(module, tuple(args), GraphSpec(inputs=specs(inputs, args), outputs=specs(outputs, found)))


def encoder_graph(encoder: ExportedEncoder, streams: Sequence[StreamSpec], hidden: int) -> Exportable:
    """The encoder with its example; `hidden` is D."""
    clips, frames = 2, 5
    made: list[Tensor] = []
    for stream in streams:
        shape = (clips, frames, *stream.shape)
        made.append(torch.zeros(shape, dtype=torch.uint8) if stream.kind == "crops" else torch.zeros(shape))
    masks = [torch.ones(clips, frames, dtype=torch.bool) for _ in range(len(streams) + 1)]
    inputs: list[tuple[str, Sequence[int | str]]] = [(stream.name, ("B", "T", *stream.shape)) for stream in streams]
    inputs += [(name, ("B", "T")) for name in encoder.input_names[len(streams) :]]
    outputs: list[tuple[str, Sequence[int | str]]] = [("memory", ("B", "T'", hidden)), ("present", ("B", "T'"))]
    return describe(encoder, (*made, *masks), inputs, outputs)


def cross_graph(cross: Cross, hidden: int, step: Step) -> Exportable:
    """The keys and values of cross-attention with their example; `hidden` is D."""
    shape = ("B", step.num_heads, "T'", step.width)
    outputs = [(f"cross_{what}_{i}", shape) for i in range(step.num_layers) for what in ("key", "value")]
    return describe(cross, (torch.zeros(2, 5, hidden),), [("memory", ("B", "T'", hidden))], outputs)


def decoder_graph(step: Step, vocabulary: int) -> Exportable:
    """The decoder's step with its example; `vocabulary` is V."""
    rows, frames, past = 3, 5, 2
    heads, width = step.num_heads, step.width
    inputs: list[tuple[str, Sequence[int | str]]] = [("tokens", ("N", 1)), ("present", ("N", "T'"))]
    args = [torch.zeros(rows, 1, dtype=torch.long), torch.ones(rows, frames, dtype=torch.bool)]
    for kind, letter, length in (("cross", "T'", frames), ("past", "L", past)):
        for i in range(step.num_layers):
            for what in ("key", "value"):
                inputs.append((f"{kind}_{what}_{i}", ("N", heads, letter, width)))
                args.append(torch.zeros(rows, heads, length, width))
    outputs: list[tuple[str, Sequence[int | str]]] = [("logits", ("N", vocabulary))]
    outputs += [(f"new_{what}_{i}", ("N", heads, "L + 1", width))
                for i in range(step.num_layers) for what in ("key", "value")]  # fmt: skip
    return describe(step, args, inputs, outputs)


def to_onnx(graph: Exportable, path: Path) -> int:
    """Writes an ONNX file, and returns its opset.

    Raises:
        ImportError: the exporter's libraries are not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError('the export needs onnx, onnxscript and onnxruntime: pip install "slt[export]"') from error
    names = [[tensor.name for tensor in side] for side in (graph.spec.inputs, graph.spec.outputs)]
    with _quiet():
        program = _export(graph.module, graph.args, _dynamic(graph), *names)
        for tensor, value in zip(graph.spec.inputs, program.model.graph.inputs, strict=True):
            # An exporter that meets a length it must know takes the example's, and says nothing.
            for length, made in zip(tensor.shape, value.shape.dims, strict=True):
                assert isinstance(length, str) != isinstance(made, int), f"{path.name}: {tensor.name} {value.shape}"
        model, networks = program.model_proto, {}
        for part in graph.module.modules():
            if isinstance(part, Pictures) and part.chunked:
                (stream,) = (x for x, tensor in zip(graph.args, graph.spec.inputs, strict=True)
                             if tensor.name == part.name)  # fmt: skip
                frames = ({0: torch.export.Dim("N")},)
                made = _export(part.network, (stream.flatten(0, 1),), frames, ["frames"], ["features"])
                networks[part.name] = made.model_proto
    unfold(model, networks)
    save(model, path)
    return int(program.model.opset_imports[""])


def save(model: Any, path: Path) -> None:
    """Writes an ONNX model, with its weights in a file beside it where they are too large for one.

    Without what the exporter notes of its work: stack traces, with the folders of whoever exported.
    """
    import onnx

    model.ClearField("metadata_props")
    for part in (model.graph, *model.functions):
        _forget(part)
    beside = path.with_name(f"{path.name}.data")
    beside.unlink(missing_ok=True)
    onnx.save(model, path, save_as_external_data=model.ByteSize() > LARGEST, location=beside.name)


def _forget(graph: Any) -> None:
    """Clears the notes of an ONNX graph or function, and of the graphs in it."""
    named = [each for kind in ("value_info", "input", "output", "initializer") for each in getattr(graph, kind, ())]
    for each in (graph, *graph.node, *(value for value in named if not isinstance(value, str))):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget(attribute.g)


def _export(module: nn.Module, args: tuple[Tensor, ...], dynamic: Any, inputs: list[str], outputs: list[str]) -> Any:
    return torch.onnx.export(
        module, args, dynamo=True, dynamic_shapes=dynamic, verbose=False, input_names=inputs, output_names=outputs
    )


def to_torchscript(graph: Exportable, path: Path) -> None:
    """Writes a TorchScript file, which libtorch runs without Python."""
    with warnings.catch_warnings(), torch.no_grad():
        # torch would have everybody leave TorchScript for torch.export, whose programs nothing but torch's own C++
        # with a compiler runs. The traced sizes that it warns of are those of the picture, which are fixed.
        warnings.filterwarnings("ignore", message="`torch.jit")
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        torch.jit.save(torch.jit.trace(graph.module, graph.args, check_trace=False), buffer := io.BytesIO())
    with zipfile.ZipFile(buffer) as traced, zipfile.ZipFile(path, "w") as archive:
        for item in traced.infolist():
            if not item.filename.endswith(".debug_pkl"):  # stack traces, with the folders of whoever exported
                archive.writestr(item, traced.read(item))


def to_program(graph: Exportable, path: Path) -> None:
    """Writes a torch.export program, for AOTInductor, ExecuTorch and whatever else reads one."""
    with _quiet():
        program = torch.export.export(graph.module, graph.args, dynamic_shapes=_dynamic(graph))
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # with the folders of whoever exported
        torch.export.save(program, path)


def _dynamic(graph: Exportable) -> tuple[Any, ...]:
    """Which lengths of which input are dynamic, one symbol a letter, in the arrangement of the module's arguments."""
    letters = {length for tensor in graph.spec.inputs for length in tensor.shape if isinstance(length, str)}
    # `T'` is no identifier, and an exporter's names are.
    symbols = {letter: torch.export.Dim(letter.replace("'", "_out")) for letter in letters}
    dims = tuple(
        {place: symbols[length] for place, length in enumerate(tensor.shape) if isinstance(length, str)}
        for tensor in graph.spec.inputs
    )
    kinds = [parameter.kind for parameter in inspect.signature(graph.module.forward).parameters.values()]
    named = kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return (*dims[:named], dims[named:]) if inspect.Parameter.VAR_POSITIONAL in kinds else dims


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters print their progress and warn of their own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            # One letter names a length of several inputs, which the exporter remarks on for each of them.
            warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
            # What the exporter itself calls and another of its releases deprecates is nothing that we could mend.
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
