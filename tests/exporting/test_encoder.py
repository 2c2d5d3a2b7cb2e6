"""The exportable encoder: the numbers of the model for every backbone, fusion, temporal encoder and set of streams.

B clips, T frames.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from slt.exporting import graphs
from slt.inference.checkpoint import load_torchscript
from slt.models import (
    BiGRUTemporal,
    BiLSTMTemporal,
    ConformerTemporal,
    ConvSmall,
    ConvTemporal,
    FeatureBackbone,
    FuseConcatLinear,
    FuseCrossAttention,
    FuseGated,
    FuseMean,
    MultiStreamEncoder,
    PoseMLP,
    SkeletonGraph,
    StreamProjector,
    TimmBackbone,
    TransformerTemporal,
    ViTSmallPatch16,
    load_dinov2_backbone,
)
from slt.models.decoder import TextSeq2SeqDecoder, entered
from slt.models.heads import Telling, told
from slt.models.prompt import marks_before
from slt.models.signature import StreamSpec
from slt.models.tokenizer import train_tokenizer

D = 16
SHAPES = {
    "conv_small": (3, 32, 32), "vit_small_patch16": (3, 16, 16), "dinov2": (3, 14, 14), "timm": (3, 32, 32),
    "pose_mlp": (5, 3), "features": (6,), "stgcn": (5, 3),
}  # fmt: skip
ARM = {
    "name": "arm", "centre": ["LEFT_SHOULDER", "RIGHT_SHOULDER"], "edges": {"body": {"arm": [[0, 1, 2]]}},
    "parts": {"body": ["RIGHT_SHOULDER", "LEFT_SHOULDER", "LEFT_WRIST"], "left_hand": ["LEFT_PALM", "LEFT_TIP"]},
}  # fmt: skip
FUSIONS: dict[str, Callable[..., Any]] = {
    "concat": lambda streams: FuseConcatLinear(streams=streams, embed_dim=D, dropout=0.1),
    "cross": lambda streams: FuseCrossAttention(
        streams=streams, embed_dim=D, num_heads=2, window=1, guide=None, dropout=0.1
    ),
    "guided": lambda streams: FuseCrossAttention(
        streams=streams, embed_dim=D, num_heads=2, window=2, guide=streams[-1], dropout=0.1
    ),
    "gated": lambda streams: FuseGated(streams=streams, embed_dim=D, dropout=0.1),
    "mean": lambda streams: FuseMean(streams=streams, embed_dim=D),
}
ATTENTION: dict[str, Any] = {"embed_dim": D, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0, "dropout": 0.1}
RECURRENT: dict[str, Any] = {"embed_dim": D, "hidden": 6, "depth": 2, "dropout": 0.1}
TEMPORALS: dict[str, Callable[[], torch.nn.Module]] = {
    "transformer": lambda: TransformerTemporal(**ATTENTION, downsample=1),
    "halved": lambda: TransformerTemporal(**ATTENTION, downsample=2),
    "conv": lambda: ConvTemporal(embed_dim=D, layers=["K5", "P2", "K5", "P2"], padding="valid", dropout=0.1),
    "same": lambda: ConvTemporal(embed_dim=D, layers=["P3", "K4"], padding="same", dropout=0.1),
    "bigru": lambda: BiGRUTemporal(**RECURRENT, downsample=1),
    "bilstm": lambda: BiLSTMTemporal(**RECURRENT, downsample=2),
    "conformer": lambda: ConformerTemporal(**{**ATTENTION, "depth": 1}, kernel_size=5, downsample=2),
}
LENGTHS = ((1, (1,)), (3, (2, 21, 5)), (2, (4, 4)))  # clips, frames of each


def backbone(kind: str) -> torch.nn.Module:
    """A backbone as conf/backbone names it, shallow where it can be: all layers export alike."""
    if kind == "conv_small":
        return ConvSmall(img_size=32, widths=[4, 6], patch_size=4, dropout=0.1, weights=None, frozen=False)
    if kind == "timm":
        return TimmBackbone(model_name="test_efficientnet", weights=None, options={}, frozen=False)
    if kind == "pose_mlp":
        return PoseMLP(num_points=5, num_features=8, dropout=0.1)
    if kind == "stgcn":
        return SkeletonGraph(
            points=ARM, widths=[4, 6], depth=1, kernel_size=3, projected=8, roots={"left_hand": "LEFT_WRIST"},
            shared={}, weights=None,
        )  # fmt: skip
    if kind == "features":
        return FeatureBackbone(num_features=6)
    if kind == "dinov2":
        made: Any = load_dinov2_backbone(model_name="vit_small_patch14_dinov2", img_size=14, weights=None, frozen=True)
    else:
        made = ViTSmallPatch16(img_size=16, weights=None, frozen=False)
    made.network.blocks = made.network.blocks[:1]
    return made


class Decoder(torch.nn.Module):
    """What of a decoder the encoder's graph has, where it has no text encoder."""

    read_first = None

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.bridge = torch.nn.LayerNorm(D), torch.nn.Linear(D, 12)

    @property
    def entrance(self) -> Any:
        return self.norm, self.bridge, None


class Model(torch.nn.Module):
    """An encoder of the named backbones, a stream each, and the end of the decoder that belongs to its graph."""

    def __init__(self, kinds: Sequence[str], fusion: str, temporal: str, tied: dict[str, str]) -> None:
        super().__init__()
        made = {kind: backbone(kind) for kind in kinds}
        self.encoder = MultiStreamEncoder(
            backbones={**made, **{name: made[owner] for name, owner in tied.items()}},
            projector=lambda num_features: StreamProjector(num_features=num_features, embed_dim=D, dropout=0.1),
            fusion=FUSIONS[fusion],
            temporal=TEMPORALS[temporal](),
            tied=tied,
        )
        self.decoder = Decoder()
        self.heads = torch.nn.ModuleDict({"gloss": torch.nn.Linear(D, 4), "told": Telling(4, D)})

    def reference(self, streams: Any, seen: Any, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What the graph must give, by the models' own code."""
        memory, present = self.encoder(streams, seen, frames)
        first: Tensor | None = self.decoder.read_first
        read = told(self.heads, memory)
        return entered(*self.decoder.entrance, read, present, first), marks_before(first, present)


def build(kinds: Sequence[str], fusion: str, temporal: str, tied: dict[str, str] | None = None) -> Model:
    """The model and nothing random about it."""
    torch.manual_seed(0)
    return Model(kinds, fusion, temporal, tied or {}).eval()


def specs(model: Model) -> list[StreamSpec]:
    """The streams of a model, named by their backbone."""
    made = []
    for name in model.encoder.streams:
        shape = SHAPES[model.encoder.owner[name]]
        kind = {3: "crops", 2: "pose", 1: "features"}[len(shape)]
        made.append(StreamSpec(name=name, kind=kind, dtype="uint8" if kind == "crops" else "float32", shape=shape,
                               folder=name, points=None, size=None))  # fmt: skip
    return made


def batches(model: Model) -> list[tuple[dict[str, Tensor], dict[str, Tensor], Tensor]]:
    """Clips of several lengths, padded; of the last batch nothing was seen."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for clips, lengths in LENGTHS:
        frames = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        streams, seen = {}, {}
        for spec in specs(model):
            shape = (clips, max(lengths), *spec.shape)
            whole = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
            streams[spec.name] = whole if spec.kind == "crops" else torch.randn(shape, generator=generator)
            seen[spec.name] = torch.rand(clips, max(lengths), generator=generator) < 0.6
        made.append((streams, seen, frames))
    streams, seen, frames = made[-1]
    return [*made, (streams, {name: torch.zeros_like(mask) for name, mask in seen.items()}, frames)]


def given(model: Model, streams: Any, seen: Any, frames: Tensor) -> list[Tensor]:
    """A batch in the order of the graph's inputs."""
    return [*(streams[n] for n in model.encoder.streams), *(seen[n] for n in model.encoder.streams), frames]


def assert_same(model: Model, run: Callable[..., Any], least: int = 1) -> None:
    """`run` gives what the model gives, on every batch of so many frames."""
    for streams, seen, frames in (batch for batch in batches(model) if batch[2].shape[1] >= least):
        with torch.inference_mode():
            wanted, present = model.reference(streams, seen, frames)
        memory, mask = (np.asarray(each) for each in run(*given(model, streams, seen, frames)))
        assert np.array_equal(mask, present.numpy())
        np.testing.assert_allclose(memory[mask], wanted.numpy()[mask], atol=2e-5)


def exportable(model: Any) -> graphs.Exportable:
    """The encoder's graph with its example."""
    return graphs.encoder_graph(model, specs(model))


def onnx_runner(model: Model, path: Path) -> Callable[..., Any]:
    """The encoder's ONNX graph as a function of tensors."""
    graph = exportable(model)
    graphs.to_onnx(graph, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in graph.spec.inputs]
    return lambda *tensors: session.run(
        ["memory", "present"], {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    )


WAYS = (
    ("concat", "halved"), ("cross", "conv"), ("mean", "bilstm"), ("gated", "conformer"), ("guided", "same"),
    ("gated", "bigru"), ("gated", "halved"),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "way"), [*zip(SHAPES, WAYS, strict=True)])
def test_every_backbone_fusion_and_temporal_encoder_gives_its_numbers_in_torchscript(
    kind: str, way: tuple[str, str], tmp_path: Path
) -> None:
    model = build([kind, "features" if kind == "pose_mlp" else "pose_mlp"], *way)
    graph = exportable(model)
    graphs.to_torchscript(graph, tmp_path / "encoder.ts")
    with torch.inference_mode():
        assert_same(model, graph.module)
        assert_same(model, load_torchscript(tmp_path / "encoder.ts", torch.device("cpu")))


@pytest.mark.parametrize("entry", ["encoder/code/x.py", "encoder/data.pkl"])
def test_torchscript_that_is_damaged_or_unpacks_to_much_is_named(tmp_path: Path, entry: str) -> None:
    with zipfile.ZipFile(tmp_path / "encoder.ts", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(entry, bytes(10 if entry.endswith("pkl") else 10**8))
    with pytest.raises(ValueError, match=r"encoder\.ts: it cannot be used"):
        load_torchscript(tmp_path / "encoder.ts", torch.device("cpu"))


@pytest.mark.parametrize(
    ("kinds", "tied", "fusion", "temporal"),
    [
        (["conv_small", "pose_mlp"], {"mirrored": "conv_small"}, "mean", "conv"),
        (["vit_small_patch16", "features"], {}, "cross", "conformer"),
        (["pose_mlp", "stgcn"], {}, "concat", "bigru"),
    ],
)
def test_graph_gives_the_model_s_numbers(
    kinds: list[str], tied: dict[str, str], fusion: str, temporal: str, tmp_path: Path
) -> None:
    model = build(kinds, fusion, temporal, tied)
    assert_same(model, onnx_runner(model, tmp_path / "encoder.onnx"))


def test_a_program_of_recurrent_layers_is_refused_and_not_of_one_length(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="program=true: .*recurrent layers"):
        graphs.to_program(exportable(build(["pose_mlp"], "mean", "bigru")), tmp_path / "encoder.pt2")


@pytest.mark.parametrize("temporal", ["halved", "conformer"])
def test_a_program_of_an_encoder_that_halves_the_frames_gives_its_numbers_at_other_lengths(
    temporal: str, tmp_path: Path
) -> None:
    model = build(["pose_mlp"], "mean", temporal)
    graphs.to_program(exportable(model), tmp_path / "encoder.pt2")
    program = torch.export.load(tmp_path / "encoder.pt2").module()
    assert_same(model, lambda *tensors: [each.detach() for each in program(*tensors)], least=3)


def test_a_prompt_and_the_text_encoder_that_reads_it_are_in_the_graph(tmp_path: Path) -> None:
    model: Any = build(["pose_mlp"], "mean", "transformer")
    model.decoder = TextSeq2SeqDecoder(
        embed_dim=D, tokenizer=train_tokenizer(["a b c"], kind="word", vocab_size=20), architecture="t5",
        pretrained=None, config={"d_model": 12, "d_kv": 6, "num_heads": 2, "d_ff": 8, "num_layers": 1},
        text_encoder=True, prompt="c a", language=None, max_tokens=8,
    ).eval()  # fmt: skip
    graphs.to_torchscript(exportable(model), tmp_path / "encoder.ts")
    with torch.inference_mode():
        assert_same(model, load_torchscript(tmp_path / "encoder.ts", torch.device("cpu")))


def test_frames_that_were_not_seen_are_not_computed() -> None:
    form: Any = graphs.fast_forms(backbone("conv_small"))
    counts: list[int] = []
    form.network.register_forward_hook(lambda module, args, out: counts.append(len(args[0])))
    seen = torch.tensor([[True, False, True, False], [False, True, False, False]])
    form(torch.zeros(2, 4, 3, 32, 32, dtype=torch.uint8), seen)
    assert counts == [3]


def test_a_fast_form_leaves_the_model_as_it_is() -> None:
    made: Any = backbone("vit_small_patch16")
    names = [name for name, _ in made.named_modules()]
    form: Any = graphs.fast_forms(torch.nn.ModuleDict({"face": made}))
    assert type(form["face"].network.blocks[0]).__name__ == "LastBlock"
    assert [name for name, _ in made.named_modules()] == names
