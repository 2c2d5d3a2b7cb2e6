"""Key points into T5 are their authors' form, to the weight: B clips, T frames, L tokens, 208 numbers a frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from torch import Tensor, nn

from slt.exporting import graphs
from slt.inference.checkpoint import load_torchscript
from slt.models import (
    FuseSingle,
    LinearGelu,
    MultiStreamEncoder,
    NoTemporal,
    PointBackbone,
    TextSeq2SeqDecoder,
    Translator,
)
from slt.models.tokenizer import train_tokenizer
from slt.streams.sample import StreamSpec

POINTS, WIDTH, LONGEST = 104, 24, 9
SIZES = {"d_model": WIDTH, "d_kv": 8, "num_heads": 3, "d_ff": 32, "num_layers": 2}


@pytest.fixture(scope="module")
def words() -> Any:
    return train_tokenizer(["a house", "the big house", "no"], kind="byte", vocab_size=300)


def build(words: Any) -> Translator:
    torch.manual_seed(0)
    encoder = MultiStreamEncoder(
        backbones={"pose": PointBackbone(num_points=POINTS, confidence=False)},
        projector=lambda num_features: LinearGelu(num_features=num_features, embed_dim=WIDTH, dropout=0.0),
        fusion=FuseSingle, temporal=NoTemporal(), tied={},
    )  # fmt: skip
    decoder = TextSeq2SeqDecoder(
        embed_dim=None, tokenizer=words, architecture="t5", pretrained=None, config=SIZES, text_encoder=True,
        prompt=None, language=None, max_tokens=40,
    )  # fmt: skip
    return Translator(encoder=encoder, decoder=decoder, heads={}).eval()


class Entrance(nn.Module):
    """A decoder without its text encoder."""

    def __init__(self, decoder: TextSeq2SeqDecoder) -> None:
        super().__init__()
        self.norm, self.bridge, _ = decoder.entrance
        self.entrance = (self.norm, self.bridge, None)


class Published(nn.Module):
    """What the authors compute, from their names of weights: padding before the clip, of -100, and masked."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.model = transformers.T5ForConditionalGeneration(config)
        self.custom_linear = nn.ModuleList([nn.Linear(2 * POINTS, WIDTH)])

    def forward(self, clips: list[Tensor], labels: Tensor) -> Tensor:
        """Numbers (T, 208) of each clip and labels (B, L), -100 after the end -> logits (B, L, V)."""
        rows = torch.full((len(clips), LONGEST, 2 * POINTS), -100.0)
        mask = torch.zeros(len(clips), LONGEST)
        for row, clip in enumerate(clips):
            rows[row, LONGEST - len(clip) :] = clip
            mask[row, LONGEST - len(clip) :] = 1
        x = self.custom_linear[0](rows)
        embedded = x * 0.5 * (1 + torch.erf(x / 2**0.5))
        return self.model(inputs_embeds=embedded, attention_mask=mask, labels=labels).logits


def clips(lengths: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Landmarks (B, T, 104, 3), all found, seen marks and frames; what lies behind a clip is garbage."""
    frames = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    pose = torch.rand(len(lengths), max(lengths), POINTS, 3, generator=torch.Generator().manual_seed(1)) + 0.1
    return torch.where(frames[..., None, None], pose, 7.0), frames.clone(), frames


def loaded(words: Any) -> tuple[Translator, Published]:
    """Both with the weights of a checkpoint of the authors' names."""
    ours = build(words)
    torch.manual_seed(5)
    theirs = Published(ours.decoder.model.config).eval()
    names = {"custom_linear.0.": "encoder.projectors.pose.linear.", "model.": "decoder.model."}
    state = {}
    for key, value in theirs.state_dict().items():
        before = next(name for name in names if key.startswith(name))
        state[names[before] + key.removeprefix(before)] = value
    ours.load_state_dict(state)
    return ours, theirs


def test_logits_are_those_of_the_published_form_on_its_weights(words: Any) -> None:
    ours, theirs = loaded(words)
    pose, seen, frames = clips((6, 9))
    tokens = torch.tensor([[5, 9, 7, 1, 0], [8, 8, 6, 4, 1]])
    labels = tokens.masked_fill(tokens == 0, -100)
    with torch.no_grad():
        memory = ours.encoder({"pose": pose}, {"pose": seen}, frames)
        came = ours.decoder(*memory, tokens)
        wanted = theirs([pose[0, :6, :, :2].flatten(1), pose[1, :, :, :2].flatten(1)], labels)
    real = tokens != 0
    assert wanted[real].std() > 0.1
    torch.testing.assert_close(came[real], wanted[real], atol=1e-5, rtol=1e-5)


def test_the_weights_beside_t5_are_those_of_one_linear_layer_of_208_to_768(words: Any) -> None:
    model = build(words)
    ours = {name for name, _ in model.named_parameters() if not name.startswith("decoder.model.")}
    assert ours == {"encoder.projectors.pose.linear.weight", "encoder.projectors.pose.linear.bias"}
    projector = LinearGelu(num_features=model.encoder.backbones["pose"].num_features, embed_dim=768, dropout=0.0)  # type: ignore[arg-type]
    assert sum(weight.numel() for weight in projector.parameters()) == 160_512


def test_a_clip_gives_the_same_alone_and_padded_and_what_was_not_found_is_zero(words: Any) -> None:
    model = build(words)
    pose, seen, frames = clips((6, 9))
    pose[0, 2, 5, 2] = 0
    seen[0, 3] = False
    tokens = torch.tensor([[5, 9, 1], [8, 6, 1]])
    with torch.no_grad():
        both = model.decoder(*model.encoder({"pose": pose}, {"pose": seen}, frames), tokens)
        pose[0, 2, 5, :2], pose[0, 3] = 99, 99
        alone = model.encoder({"pose": pose[:1, :6]}, {"pose": seen[:1, :6]}, frames[:1, :6])
        torch.testing.assert_close(model.decoder(*alone, tokens[:1]), both[:1], atol=1e-5, rtol=1e-5)
    assert not alone[0][0, 3].any()


def test_confidence_stands_behind_x_and_y_where_it_is_asked_for() -> None:
    pose, seen, _ = clips((2,))
    out = PointBackbone(num_points=POINTS, confidence=True)(pose, seen)
    assert torch.equal(out.unflatten(2, (POINTS, 3)), pose)


def test_parts_that_do_not_fit_are_named(words: Any) -> None:
    with pytest.raises(ValueError, match="fusion=single is for one stream, came face, pose"):
        FuseSingle(streams=("face", "pose"))
    with pytest.raises(ValueError, match=r"as wide as its model, 24, came 6; set embed_dim"):
        build(words).decoder(torch.zeros(1, 2, 6), torch.ones(1, 2, dtype=torch.bool), torch.tensor([[1]]))


def test_its_graphs_give_its_numbers(words: Any, tmp_path: Path) -> None:
    """All but T5's own encoder, whose graph is proved in tests/exporting."""
    model: Any = build(words)
    model.decoder = Entrance(model.decoder)
    spec = StreamSpec(name="pose", kind="pose", dtype="float32", shape=(POINTS, 3), folder="pose")
    graph = graphs.encoder_graph(model, [spec])
    graphs.to_onnx(graph, tmp_path / "encoder.onnx")
    graphs.to_torchscript(graph, tmp_path / "encoder.ts")
    session = onnxruntime.InferenceSession(str(tmp_path / "encoder.onnx"), providers=["CPUExecutionProvider"])
    script = load_torchscript(tmp_path / "encoder.ts", torch.device("cpu"))
    for lengths in ((4,), (7, 9, 2)):
        given = clips(lengths)
        with torch.no_grad():
            wanted = graph.module(*given)[0][given[2]]
            traced = script(*given)[0][given[2]]
        names = [tensor.name for tensor in graph.spec.inputs]
        came = session.run(["memory"], {name: x.numpy() for name, x in zip(names, given, strict=True)})[0]
        assert np.abs(came[given[2].numpy()] - wanted.numpy()).max() < 2e-5
        torch.testing.assert_close(traced, wanted, atol=2e-5, rtol=1e-5)
