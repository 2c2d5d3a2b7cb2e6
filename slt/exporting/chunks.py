"""A large network over the frames of a clip, a few at a time, in an ONNX graph.

Between two matrix products of a vision transformer stand the activations of all frames, tens of megabytes for a clip,
which no processor's cache holds. Four frames at a time are a tenth faster than all at once (tests/bench/export.py), and
need as little memory for a long clip as for a short one. torch's exporter knows loops, but none over a number of frames
that a graph finds out itself; so it writes one operator in place of the network, which becomes a loop here.

Shape letters: N frames, R crop side, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

CHUNK = 4
DOMAIN = "slt.chunks"


def placeholder(frames: Tensor, num_features: int, key: str) -> Tensor:
    """The operator that `unfold` replaces by the network called `key`: (N, 3, R, R) uint8 -> (N, F) float32."""
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::Network", [frames], attrs={"key": key}, dtype=torch.float32,
        shape=(frames.shape[0], num_features), version=1,
    )  # fmt: skip


def unfold(model: Any, networks: Mapping[str, Any]) -> None:
    """Puts a loop over chunks of frames in place of each placeholder, in place.

    Args:
        model: ONNX model with placeholders.
        networks: key -> ONNX model with one input (N, 3, R, R) and one output (N, F).
    """
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        if node.domain != DOMAIN:
            model.graph.node.append(node)
            continue
        key = next(attribute.s.decode() for attribute in node.attribute if attribute.name == "key")
        model.graph.node.extend(_loop(node.input[0], node.output[0], key, networks[key].graph))
    domains = {each.domain: each for network in networks.values() for each in network.opset_import}
    there = {each.domain for each in model.opset_import}
    model.opset_import.extend(each for domain, each in domains.items() if domain not in there)
    kept = [each for each in model.opset_import if each.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _loop(frames: str, features: str, key: str, network: Any) -> list[Any]:
    """The nodes that compute `features` of `frames`; every name in them starts with `key`."""
    from onnx import TensorProto, helper, numpy_helper

    _prefix(network, f"{key}/")
    taken, made = network.input[0].name, network.output[0].name
    width = network.output[0].type.tensor_type.shape.dim[1].dim_value
    name = f"{key}/chunk".__add__

    def constant(what: str, *values: int) -> Any:
        return helper.make_node("Constant", [], [name(what)], value_ints=list(values))

    body = helper.make_graph(
        [
            constant("_size", CHUNK), constant("_axis", 0), constant("_one", 1),
            helper.make_node("Reshape", [name("_number"), name("_one")], [name("_place")]),
            helper.make_node("Mul", [name("_place"), name("_size")], [name("_begin")]),
            helper.make_node("Add", [name("_begin"), name("_size")], [name("_end")]),
            helper.make_node("Slice", [frames, name("_begin"), name("_end"), name("_axis")], [taken]),
            *network.node,
            helper.make_node("Concat", [name("_before"), made], [name("_after")], axis=0),
            helper.make_node("Identity", [name("_go")], [name("_going")]),
        ],
        f"{key}_chunk",
        [
            helper.make_tensor_value_info(name("_number"), TensorProto.INT64, []),
            helper.make_tensor_value_info(name("_go"), TensorProto.BOOL, []),
            helper.make_tensor_value_info(name("_before"), TensorProto.FLOAT, [None, width]),
        ],
        [
            helper.make_tensor_value_info(name("_going"), TensorProto.BOOL, []),
            helper.make_tensor_value_info(name("_after"), TensorProto.FLOAT, [None, width]),
        ],
        initializer=list(network.initializer),
        value_info=list(network.value_info),  # the quantiser asks for types, and infers none in here
    )  # fmt: skip
    nothing = numpy_helper.from_array(_empty(width), name("_none"))
    return [
        helper.make_node("Shape", [frames], [name("_count")], start=0, end=1),
        constant("_round", CHUNK - 1), constant("_divisor", CHUNK),
        helper.make_node("Add", [name("_count"), name("_round")], [name("_rounded")]),
        helper.make_node("Div", [name("_rounded"), name("_divisor")], [name("_trips")]),
        helper.make_node("Constant", [], [name("_nothing")], value=nothing),
        helper.make_node("Constant", [], [name("_always")], value=helper.make_tensor("", TensorProto.BOOL, [], [True])),
        helper.make_node("Loop", [name("_trips"), name("_always"), name("_nothing")], [features], body=body),
    ]  # fmt: skip


def _empty(width: int) -> Any:
    import numpy as np

    return np.zeros((0, width), np.float32)


def _prefix(graph: Any, prefix: str) -> None:
    """Renames every value of a graph without inner graphs, so that no name meets one of the graph it is put into."""
    for each in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
        each.name = prefix + each.name
    for node in graph.node:
        assert not any(attribute.HasField("g") for attribute in node.attribute), node.op_type
        node.name = prefix + node.name
        for names in (node.input, node.output):
            names[:] = [prefix + name if name else "" for name in names]
