"""ONNX graphs at another precision: half floats, or matrix products in eight bits."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from slt.exporting.graphs import save

PRECISIONS = ("fp32", "fp16", "int8")
# Squares of activations overflow half floats above 255, which T5's reach; the norms stay as they are.
NORMS = ("LayerNormalization", "SimplifiedLayerNormalization", "InstanceNormalization", "GroupNormalization",
         "RMSNormalization", "Pow", "ReduceMean", "Sqrt", "ReduceSumSquare")  # fmt: skip


@dataclass(frozen=True)
class Converted:
    """How many matrix products with weights are now int8, and how many operators of each type stay float32."""

    products: int
    kept: dict[str, int]


def convert(path: Path, precision: str) -> Converted:
    """Rewrite a float32 ONNX file in place.

    `fp16`: weights and products in half floats, inputs, outputs and norms in float32. `int8`: the weights of MatMul and
    Gemm in int8, one scale a channel, activations quantised as they come; all else stays float32.
    """
    if precision == "fp16":
        _halve(path)
    elif precision == "int8":
        _quantise(path)
    return _count(path)


def _halve(path: Path) -> None:
    import onnx
    from onnxruntime.transformers import float16

    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, *NORMS]
    model = float16.convert_float_to_float16(onnx.load(path), keep_io_types=True, op_block_list=blocked)
    save(model, path)


def _quantise(path: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    beside = path.with_name(f"{path.stem}.int8.onnx")
    root = logging.getLogger()
    level, large = root.level, _data(path).is_file()
    root.setLevel(logging.ERROR)  # it recommends a preparation that is for convolutions, which are not touched
    try:
        # Seven bits of weight: on CPUs without VNNI two products of eight bits saturate the sixteen they are added in.
        quantize_dynamic(
            path, beside, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, reduce_range=True,
            weight_type=QuantType.QInt8, use_external_data_format=large,
        )  # fmt: skip
    finally:
        root.setLevel(level)
    model = onnx.load(beside)
    for stale in (path, _data(path), beside, _data(beside)):
        stale.unlink(missing_ok=True)
    save(model, path)


def _data(path: Path) -> Path:
    """The file with the weights of a graph that is too large for one protobuf file."""
    return path.with_name(f"{path.name}.data")


def _count(path: Path) -> Converted:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    kinds = Counter(node.op_type for node in graph.node if weights & set(node.input))
    kept = {kind: kinds[kind] for kind in ("Conv", "MatMul", "Gemm", "Gather") if kinds[kind]}
    return Converted(kinds["MatMulInteger"], kept)
