"""slt/models/backbones/dsta.py: MSKA's keypoint network, by its authors' sums, weights and number of them.

Shape letters: B clips, T frames, T' frames after the strides, K landmarks, V points of a part, C channels, H heads.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slt.exporting import graphs
from slt.inference.checkpoint import load_torchscript
from slt.models import FuseMean, KeypointAttention, LinearProjector, MultiStreamEncoder, PoseMLP, VisualHeadTemporal
from slt.models.backbones.dsta import AttentionLayer
from slt.models.decoder import entered
from slt.models.signature import StreamSpec
from slt.streams.skeleton import find_skeleton

# As the authors' configuration has them: points of COCO-WholeBody's 133 by number, and layers.
LEFT = [0, 1, 3, 5, 7, 9, *range(91, 112)]
RIGHT = [0, 2, 4, 6, 8, 10, *range(112, 133)]
FACE = [23, 26, 29, 33, 36, 39, 41, 43, 46, 48, 53, 56, 59, 62, 65, 68, 71, 72, 73, 74, 75, 76, 77, 79, 80, 81]
LAYERS = [[64, 64, 16, 7, 2], [64, 64, 16, 3, 1], [64, 128, 32, 3, 1], [128, 128, 32, 3, 1], [128, 256, 64, 3, 2],
          [256, 256, 64, 3, 1], [256, 256, 64, 3, 1], [256, 256, 64, 3, 1]]  # fmt: skip
SMALL = [[4, 4, 3, 5, 2], [4, 6, 3, 3, 2], [6, 6, 2, 3, 1]]
PARTS = {"left": ["LEFT_SHOULDER", "LEFT_WRIST"], "right": ["RIGHT_SHOULDER", "RIGHT_WRIST"], "body": None}
TOY = {
    "name": "toy",
    "centre": ["LEFT_SHOULDER", "RIGHT_SHOULDER"],
    "parts": {"body": ["LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_WRIST", "RIGHT_WRIST"]},
    "edges": {},
}


def moved(module: nn.Module) -> Any:
    """None of whose weights or statistics is as it starts."""
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in [*module.parameters(), *(x for name, x in module.named_buffers() if "running" in name)]:
            tensor.copy_(torch.rand_like(tensor) + 0.1 if tensor.dim() == 1 else torch.randn_like(tensor) * 0.5)
    return module.eval()


def network(**changed: Any) -> KeypointAttention:
    options = {"points": TOY, "parts": PARTS, "layers": SMALL, "num_heads": 2, "dropout": 0.1, "weights": None}
    return moved(KeypointAttention(**options | changed))


def published(**changed: Any) -> KeypointAttention:
    """The configuration of conf/ on the authors' points, on which nothing is computed."""
    from omegaconf import OmegaConf

    from slt.config.checks import CONF

    written: Any = OmegaConf.to_container(OmegaConf.load(CONF / "backbone" / "dsta.yaml"), resolve=False)
    del written["_target_"]
    assert written["layers"] == LAYERS
    return KeypointAttention(**written | {"points": "mska"} | changed)


def clips(*lengths: int) -> tuple[Tensor, Tensor]:
    """Landmarks (B, T, 4, 3) of so many frames, and which there are."""
    torch.manual_seed(1)
    x = torch.randn(len(lengths), max(lengths), 4, 3)
    x[..., 2] = torch.rand(x.shape[:3]) + 0.3
    return x, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_it_has_the_published_points_and_number_of_weights():
    made = published()
    whole = find_skeleton("mska").places
    assert {part: whole[places].tolist() for part, places in made.places.items()} == {
        "left": LEFT, "face": FACE, "right": RIGHT, "body": [*LEFT, *RIGHT[1:], *FACE],
    }  # fmt: skip
    assert sum(x.numel() for x in made.parameters()) == 15_544_336
    assert (made.num_features, made.stride) == (1024, 4)


def plain_norm(norm: Any, x: Tensor, training: bool) -> Tensor:
    mean, var = (None, None) if training else (norm.running_mean, norm.running_var)
    return functional.batch_norm(x, mean, var, norm.weight, norm.bias, training)


def plain_layer(layer: Any, x: Tensor, *, inner: int, stride: int, training: bool) -> Tensor:
    """A layer on whole clips (B, C, T, V), number by number where points or frames meet."""
    count, width, length, points = x.shape
    heads = layer.scale.shape[1]
    names = torch.zeros(width, points)
    for i in range(0, width, 2):
        for v in range(points):
            angle = v / 10000 ** (i / width)
            names[i, v], names[i + 1, v] = math.sin(angle), math.cos(angle)

    def point(conv: Any, x: Tensor) -> Tensor:
        return functional.linear(x.movedim(1, 3), conv.weight[:, :, 0, 0], conv.bias).movedim(3, 1)

    pairs = point(layer.pair, x + names[None, :, None])
    mixed = torch.zeros(count, heads * width, length, points)
    for b in range(count):
        for h in range(heads):
            query = pairs[b, h * inner : (h + 1) * inner]
            key = pairs[b, (heads + h) * inner : (heads + h + 1) * inner]
            for v in range(points):
                for u in range(points):
                    agreed = (query[:, :, u] * key[:, :, v]).sum() / (inner * length)
                    weight = torch.tanh(agreed) * layer.scale[0, h, 0, 0] + layer.always[0, h, u, v]
                    mixed[b, h * width : (h + 1) * width, :, v] += weight * x[b, :, :, u]
    changes = len(layer.around) > 0

    def side(part: Any, x: Tensor) -> Tensor:
        return plain_norm(part.norm, point(part.conv, x), training)

    y = functional.leaky_relu((side(layer.around[0], x) if changes else x) + side(layer.join, mixed), 0.1)
    y = functional.leaky_relu((side(layer.around[1], x) if changes else x) + side(layer.feed, y), 0.1)
    kernel = layer.over_time.conv.weight[..., 0]
    half, rows = kernel.shape[2] // 2, []
    for t in range(0, length, stride):
        row = layer.over_time.conv.bias[None, :, None].repeat(count, 1, points)
        for k in range(kernel.shape[2]):
            if 0 <= t + k - half < length:
                row = row + torch.einsum("oi,biv->bov", kernel[:, :, k], y[:, :, t + k - half])
        rows.append(row)
    z = plain_norm(layer.over_time.norm, torch.stack(rows, 2), training)
    return functional.leaky_relu((side(layer.along, y[:, :, ::stride]) if changes else y) + z, 0.1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("layer", "length"), [([4, 6, 3, 5, 2], 7), ([4, 4, 2, 3, 1], 4)])
def test_a_layer_is_the_authors(layer, length, training):
    made = moved(AttentionLayer(layer, num_points=3, num_heads=2, dropout=0.0)).train(training)
    x = torch.randn(2, layer[0], length, 3)
    out, left = made(x, torch.ones(2, length, dtype=torch.bool))
    torch.testing.assert_close(
        out, plain_layer(made, x, inner=layer[2], stride=layer[4], training=training), atol=2e-5, rtol=1e-4
    )
    assert left.shape == (2, out.shape[2])


def test_the_network_is_its_layers_part_by_part_and_the_mean_over_points():
    made, (x, seen) = network(), clips(9, 9)
    wanted = []
    for part, places in {"left": [0, 2], "right": [1, 3], "body": [0, 1, 2, 3]}.items():
        enter = made.enter[part]
        own = functional.linear(x[:, :, places], enter.conv.weight[:, :, 0, 0], enter.conv.bias).movedim(3, 1)
        own = functional.leaky_relu(plain_norm(enter.norm, own, False), 0.1)
        for layer, (*_, inner, _, stride) in zip(made.layers[part], SMALL, strict=True):
            own = plain_layer(layer, own, inner=inner, stride=stride, training=False)
        wanted.append(own.mean(3).transpose(1, 2))
    torch.testing.assert_close(made(x, seen), torch.cat(wanted, 2), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("frames", [1, 4, 5, 6])
def test_a_clip_gives_the_same_alone_and_padded_with_garbage(frames):
    made, (x, seen) = network(), clips(11, frames)
    alone = made(x[1:, :frames], seen[1:, :frames])
    x[1, frames:] = torch.nan
    out = made(x, seen)
    assert out.shape == (2, 3, 18)
    torch.testing.assert_close(out[1, : -(-frames // 4)], alone[0], atol=1e-5, rtol=1e-4)
    assert not out[1, -(-frames // 4) :].any()


def test_padding_changes_no_batch_statistic_and_what_was_not_seen_nothing():
    made, (x, seen) = network(dropout=0.0).train(), clips(8, 5)
    seen[0, 2] = False
    before = made(x, seen)
    other = x.clone()
    other[0, 2], other[1, 5:] = 9, torch.nan
    assert torch.equal(made(other, seen), before)


def test_every_weight_gets_a_gradient():
    made, (x, seen) = network().train(), clips(9, 6)
    made(x, seen).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in made.parameters())


def theirs(parts: dict[str, int]) -> dict[str, Tensor]:
    """The names and shapes of the authors' file, each tensor filled with a number of its own."""
    shapes: dict[str, list[int]] = {}

    def pair(name: str, out: int, *weight: int) -> None:
        shapes.update({f"{name}.0.weight": [out, *weight], f"{name}.0.bias": [out]})
        shapes.update({f"{name}.1.{what}": [out] for what in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.1.num_batches_tracked"] = []

    for part, points in parts.items():
        pair(f"{part}_input_map", 64, 3, 1, 1)
        for n, (before, width, inner, kernel, stride) in enumerate(LAYERS):
            layer = f"{part}_graph_layers.{n}"
            shapes |= {f"{layer}.atts": [1, 6, points, points], f"{layer}.pes.pe": [1, before, 400, points]}
            shapes |= {f"{layer}.alphas": [1, 6, 1, 1], f"{layer}.attention0s": [1, 6, points, points]}
            shapes |= {f"{layer}.in_nets.weight": [12 * inner, before, 1, 1], f"{layer}.in_nets.bias": [12 * inner]}
            pair(f"{layer}.out_nets", width, 6 * before, 1, 1)
            pair(f"{layer}.ff_nets", width, width, 1, 1)
            pair(f"{layer}.out_nett", width, width, kernel, 1)
            if before != width or stride != 1:
                pair(f"{layer}.downs1", width, before, 1, 1)
                pair(f"{layer}.downs2", width, before, 1, 1)
                pair(f"{layer}.downt2", width, width, 1, 1)
    return {
        name: torch.full([1] * len(shape), float(n)).expand(shape) for n, (name, shape) in enumerate(shapes.items())
    }


def test_published_weights_load_by_name(tmp_path: Path):
    state = theirs({"left": 27, "face": 26, "right": 27, "body": 79})
    prefix = "recognition_network.visual_backbone_keypoint."
    head = {"recognition_network.fuse_visual_head.fc1.bias": torch.ones(512)}
    torch.save({"model": {prefix + name: x for name, x in state.items()} | head, "epoch": 3}, tmp_path / "best.pth")
    own = published(weights=str(tmp_path / "best.pth")).state_dict()
    for name, ours in {
        "face_input_map.0.bias": "enter.face.conv.bias",
        "left_graph_layers.4.in_nets.weight": "layers.left.4.pair.weight",
        "body_graph_layers.0.attention0s": "layers.body.0.always",
        "body_graph_layers.7.alphas": "layers.body.7.scale",
        "right_graph_layers.2.out_nets.1.running_var": "layers.right.2.join.norm.running_var",
        "right_graph_layers.2.ff_nets.0.weight": "layers.right.2.feed.conv.weight",
        "right_graph_layers.0.out_nett.0.weight": "layers.right.0.over_time.conv.weight",
        "right_graph_layers.0.downs1.0.weight": "layers.right.0.around.0.conv.weight",
        "right_graph_layers.0.downs2.1.bias": "layers.right.0.around.1.norm.bias",
        "right_graph_layers.0.downt2.1.weight": "layers.right.0.along.norm.weight",
    }.items():
        assert torch.equal(own[ours], state[name]), name
    assert len({float(x.flatten()[0]) for x in own.values()}) == len(own)


def test_a_file_of_another_network_or_of_none_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        published(weights=str(tmp_path / "none.pth"))
    state = {f"recognition_network.visual_backbone_keypoint.{name}": x for name, x in theirs({"left": 27}).items()}
    torch.save({"model": state}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"expected a checkpoint of MSKA.*Missing key.*enter\.face"):
        published(weights=str(tmp_path / "part.pth"))


def test_parts_that_a_skeleton_has_not_are_left_out_and_misspelt_points_refused():
    parts = {"left": ["LEFT_WRIST", "left_hand"], "face": ["face"], "body": None}
    made = network(points="body_hands", parts=parts)
    assert {part: len(places) for part, places in made.places.items()} == {"left": 22, "body": 75}
    assert network(points="upper_body", parts=parts).places["left"] == [15]
    with pytest.raises(ValueError, match=r"parts\.left: skeleton 'toy' has no point or part 'LEFT_WRITS'"):
        network(parts={"left": ["LEFT_SHOULDER", "LEFT_WRITS"]})
    with pytest.raises(ValueError, match="'toy' has no point of any: face"):
        network(parts={"face": ["face"]})


def encoder(**backbones: nn.Module) -> MultiStreamEncoder:
    return moved(
        MultiStreamEncoder(
            backbones={"pose": network(), **backbones},
            projector=lambda num_features: LinearProjector(num_features=num_features, embed_dim=8, dropout=0.1),
            fusion=lambda streams: FuseMean(streams=streams, embed_dim=8),
            temporal=VisualHeadTemporal(embed_dim=8, hidden=6, kernel_size=3, dropout=0.1),
            tied={},
        )
    )


def test_the_encoder_shortens_its_masks_with_it():
    made, (x, frames) = encoder(), clips(9, 6)
    seen = frames.clone()
    seen[0, 4:8] = False
    features: dict[str, Tensor] = {}
    memory, present = made({"pose": x}, {"pose": seen}, frames, features)
    assert memory.shape == (2, 3, 8)
    assert present.sum(1).tolist() == [made.length(9), made.length(6)] == [3, 2]
    assert made.stride == 4
    assert torch.equal(features["pose"], made.backbones["pose"](x, seen))
    assert features["pose"].any(2).tolist() == [[True, False, True], [True, True, False]]


def test_streams_of_another_rate_beside_it_are_refused():
    with pytest.raises(ValueError, match="pose one in 4, face one in 1"):
        encoder(face=PoseMLP(num_points=4, num_features=8, dropout=0.0))


def test_the_exported_encoder_gives_the_model_s_numbers(tmp_path: Path):
    small = network(parts={"body": None}, layers=[[4, 4, 2, 3, 2]])
    decoder = SimpleNamespace(entrance=(nn.LayerNorm(8), nn.Linear(8, 5), None), bridge=nn.Linear(8, 5))
    model: Any = SimpleNamespace(encoder=encoder(pose=small), decoder=decoder, heads=nn.ModuleDict())
    spec = StreamSpec(name="pose", kind="pose", dtype="float32", shape=(4, 3), folder="pose", points=None, size=None)
    graph = graphs.encoder_graph(model, [spec])
    graphs.to_torchscript(graph, tmp_path / "encoder.ts")
    graphs.to_onnx(graph, tmp_path / "encoder.onnx")
    traced = load_torchscript(tmp_path / "encoder.ts", torch.device("cpu"))
    session = onnxruntime.InferenceSession(str(tmp_path / "encoder.onnx"), providers=["CPUExecutionProvider"])
    for lengths in ((1,), (12, 7, 3), (4, 4)):
        x, frames = clips(*lengths)
        seen = frames & (torch.rand(frames.shape) < 0.7)
        with torch.inference_mode():
            memory, present = model.encoder({"pose": x}, {"pose": seen}, frames)
            wanted = entered(*decoder.entrance, memory, present).numpy()
            given = traced(x, seen, frames)
        for out, mask in (
            given,
            session.run(None, {"pose": x.numpy(), "seen_pose": seen.numpy(), "frames": frames.numpy()}),
        ):
            assert np.array_equal(np.asarray(mask), present.numpy())
            np.testing.assert_allclose(np.asarray(out)[present.numpy()], wanted[present.numpy()], atol=5e-5)
