"""Modules to files: ONNX, TorchScript and torch.export programs with dynamic lengths.

Shape letters: B clips, T frames, T' frames after the temporal encoder, N hypotheses, L tokens of the past, H heads,
d head width, D the decoder's hidden size, V vocabulary.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from slt.exporting.recurrent import OPERATORS, Recurrent
from slt.models.causal import CausalDecoder
from slt.models.decoder import TextSeq2SeqDecoder, entered
from slt.models.heads import JOINED, TOLD, told
from slt.models.prompt import marks_before
from slt.models.signature import GraphSpec, StreamSpec, TensorSpec
from slt.models.translator import Translator

# A protobuf file ends at 2 GiB; beyond this the weights of a graph stand in a file beside it.
LARGEST = 1_900_000_000

Named = list[tuple[str, tuple[int | str, ...]]]


@dataclass(frozen=True)
class Exportable:
    """A module with what an exporter must know.

    Every dynamic length of the example inputs `args` is above one and unlike the others; `spec` has letters for them.
    """

    module: nn.Module
    args: tuple[Tensor, ...]
    spec: GraphSpec


class Encoder(nn.Module):
    """Everything of a translator up to what the decoder's cross-attention reads, its inputs by position."""

    prompt: Tensor | None

    def __init__(self, translator: Translator, streams: Sequence[str]) -> None:
        super().__init__()
        self.streams = tuple(streams)
        self.stride = translator.encoder.stride
        self.encoder = fast_forms(translator.encoder)
        heads = translator.heads
        self.heads = nn.ModuleDict({name: heads[name] for name in (JOINED, TOLD)} if TOLD in heads else {})
        # Not the decoder whole: TorchScript would write its weights too.
        entrance: tuple[nn.Module, nn.Module, Any] = translator.decoder.entrance
        self.norm, self.bridge, self.text_encoder = entrance
        prompt: Tensor | None = getattr(translator.decoder, "read_first", None)
        self.register_buffer("prompt", None if prompt is None else prompt.detach().clone())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Each stream (B, T, ...), each one's seen marks (B, T), frames (B, T) -> (B, T', D) and its (B, T') mask.

        Both are longer by the tokens of a prompt, where there is one.
        """
        count = len(self.streams)
        seen = dict(zip(self.streams, inputs[count:-1], strict=True))
        memory, present = self.encoder(dict(zip(self.streams, inputs[:count], strict=True)), seen, inputs[-1])
        memory = told(self.heads, memory)
        hidden = entered(self.norm, self.bridge, self.text_encoder, memory, present, self.prompt)
        return hidden, marks_before(self.prompt, present).clone()  # a graph's output must not be its input


class Start(nn.Module):
    """What is computed once a clip: (B, T', D) -> each layer's cross-attention key and value (B, H, T', d) in turn."""

    def __init__(self, decoder: TextSeq2SeqDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, memory: Tensor) -> tuple[Tensor, ...]:
        return self.decoder.start(memory)


class Step(nn.Module):
    """One token of N hypotheses; see `TextSeq2SeqDecoder.step`."""

    def __init__(self, decoder: TextSeq2SeqDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: Tensor, present: Tensor, *cache: Tensor) -> tuple[Tensor, ...]:
        return self.decoder.step(tokens, present, *cache)


def fast_forms(module: nn.Module) -> nn.Module:
    """Copy a module with the `fast_form` of every part that offers one, and with recurrent layers as operators."""
    form = getattr(module, "fast_form", None)
    if form is not None:
        return form()
    if type(module) in OPERATORS:
        return Recurrent(module)
    copied = copy.copy(module)
    copied._modules = {name: child and fast_forms(child) for name, child in module._modules.items()}
    return copied


def encoder_graph(translator: Translator, streams: Sequence[StreamSpec]) -> Exportable:
    """The encoder with its example."""
    names = [stream.name for stream in streams]
    stride = translator.encoder.stride
    length = max(5, stride + 1)  # more than one position is left
    made = [torch.zeros(2, length, *stream.shape, dtype=getattr(torch, stream.dtype)) for stream in streams]
    masks = [torch.ones(2, length, dtype=torch.bool) for _ in range(len(streams) + 1)]
    inputs: Named = [(stream.name, ("B", "T", *stream.shape)) for stream in streams]
    inputs += [(name, ("B", "T")) for name in (*(f"seen_{name}" for name in names), "frames")]
    hidden = translator.decoder.bridge.out_features
    outputs: Named = [("memory", ("B", "T'", hidden)), ("present", ("B", "T'"))]
    return _exportable(Encoder(translator, names), (*made, *masks), inputs, outputs)


def decoder_graphs(decoder: TextSeq2SeqDecoder | CausalDecoder) -> dict[str, Exportable]:
    """What is computed once a clip (`cross`), and one step (`decoder`), with their examples."""
    if isinstance(decoder, CausalDecoder):
        raise ValueError(
            "a run with decoder=llm is not exported: the graphs are those of cross-attention, which a causal language "
            "model has not; evaluate it and use the demo from its checkpoint (python -m slt.demo model=RUN)"
        )
    hidden, rows, past = decoder.bridge.out_features, 3, 2
    with torch.no_grad():
        cross = decoder.eval().start(torch.zeros(rows, 5, hidden))
    heads, width = cross[0].shape[1], cross[0].shape[3]

    def named(kind: str, rows: str, length: str) -> Named:
        return [(f"{kind}_{what}_{layer}", (rows, heads, length, width))
                for layer in range(len(cross) // 2) for what in ("key", "value")]  # fmt: skip

    args = (torch.zeros(rows, 1, dtype=torch.long), torch.ones(rows, 5, dtype=torch.bool), *cross,
            *(torch.zeros(rows, heads, past, width) for _ in cross))  # fmt: skip
    inputs: Named = [
        ("tokens", ("N", 1)),
        ("present", ("N", "T'")),
        *named("cross", "N", "T'"),
        *named("past", "N", "L"),
    ]
    logits: Named = [("logits", ("N", decoder.model.config.vocab_size))]
    memory: Named = [("memory", ("B", "T'", hidden))]
    step = decoder.fast_step() or Step(decoder)
    return {
        "cross": _exportable(Start(decoder), (torch.zeros(2, 5, hidden),), memory, named("cross", "B", "T'")),
        "decoder": _exportable(step, args, inputs, [*logits, *named("new", "N", "L + 1")]),
    }


def _exportable(module: nn.Module, args: tuple[Tensor, ...], inputs: Named, outputs: Named) -> Exportable:
    """Run a module once on its example and writes down names, shapes and dtypes."""
    with torch.no_grad():
        found = module.eval()(*args)

    def specs(sides: Named, tensors: Sequence[Tensor]) -> tuple[TensorSpec, ...]:
        out = []
        for (name, shape), tensor in zip(sides, tensors, strict=True):
            assert len(shape) == tensor.dim(), name
            assert all(isinstance(a, str) or a == b for a, b in zip(shape, tensor.shape, strict=True)), name
            out.append(TensorSpec(name=name, shape=shape, dtype=str(tensor.dtype).removeprefix("torch.")))
        return tuple(out)

    return Exportable(module, args, GraphSpec(inputs=specs(inputs, args), outputs=specs(outputs, found)))


def to_onnx(graph: Exportable, path: Path) -> int:
    """Write an ONNX file, and return its opset."""
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError('the export needs onnx, onnxscript and onnxruntime: pip install "slt[export]"') from error
    inputs, outputs = ([tensor.name for tensor in side] for side in (graph.spec.inputs, graph.spec.outputs))
    with _quiet():
        program = torch.onnx.export(graph.module, graph.args, dynamo=True, dynamic_shapes=_dynamic(graph),
                                    verbose=False, input_names=inputs, output_names=outputs)  # fmt: skip
    assert program is not None
    for tensor, value in zip(graph.spec.inputs, program.model.graph.inputs, strict=True):
        # An exporter that meets a length it must know takes the example's, and says nothing.
        assert value.shape is not None
        for length, made in zip(tensor.shape, value.shape.dims, strict=True):
            assert isinstance(length, str) != isinstance(made, int), f"{path.name}: {tensor.name} {value.shape}"
    save(program.model_proto, path)
    return int(program.model.opset_imports[""])


def save(model: Any, path: Path) -> None:
    """Write an ONNX model, with its weights in a file beside it where they are too large for one.

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
    """Clear the notes of an ONNX graph or function, and of the graphs in it."""
    named = [each for kind in ("value_info", "input", "output", "initializer") for each in getattr(graph, kind, ())]
    for each in (graph, *graph.node, *(value for value in named if not isinstance(value, str))):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget(attribute.g)


def to_torchscript(graph: Exportable, path: Path) -> None:
    """Write a TorchScript file, which libtorch runs without Python."""
    with warnings.catch_warnings(), torch.no_grad():
        # torch would have everybody leave TorchScript for torch.export, whose programs nothing but torch's own C++
        # with a compiler runs. The traced sizes that it warns of are those of the picture, which are fixed.
        warnings.filterwarnings("ignore", message="`torch.jit")
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        # It looks at every attribute of a module, the deprecated ones of transformers too.
        warnings.filterwarnings("ignore", category=FutureWarning)
        torch.jit.save(torch.jit.trace(graph.module, graph.args, check_trace=False), buffer := io.BytesIO())
    with zipfile.ZipFile(buffer) as traced, zipfile.ZipFile(path, "w") as archive:
        for item in traced.infolist():
            if not item.filename.endswith(".debug_pkl"):  # stack traces, with the folders of whoever exported
                archive.writestr(item, traced.read(item))


def to_program(graph: Exportable, path: Path) -> None:
    """Write a torch.export program, for AOTInductor, ExecuTorch and whatever else reads one.

    Of an encoder that shortens clips it takes those of which more than one step is left: torch.export makes another
    program of a length of one. One with recurrent layers is a ValueError: it would be unrolled over the example's
    frames, and read clips of that length alone.
    """
    if any(isinstance(part, Recurrent) for part in graph.module.modules()):
        raise ValueError(
            "program=true: a program of recurrent layers (GRU, LSTM) has the length of one clip; set program=false, "
            "ONNX and TorchScript have them for any length"
        )
    shortest = getattr(graph.module, "stride", 0) + 1
    with _quiet():
        program = torch.export.export(
            graph.module, graph.args, dynamic_shapes=_dynamic(graph, {"T": shortest} if shortest > 2 else {})
        )
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # with the folders of whoever exported
        torch.export.save(program, path)


def _dynamic(graph: Exportable, least: Mapping[str, int] = MappingProxyType({})) -> tuple[Any, ...]:
    """Which lengths of which input are dynamic, one symbol a letter, in the arrangement of the module's arguments."""
    letters = {length for tensor in graph.spec.inputs for length in tensor.shape if isinstance(length, str)}
    # `T'` is no identifier, and an exporter's names are.
    symbols = {letter: torch.export.Dim(letter.replace("'", "_out"), min=least.get(letter)) for letter in letters}
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
