"""What the tests of slt/inference share: a folder like those that slt.export makes, small enough to be made in seconds.

Shape letters: B clips, T frames, N hypotheses, H heads, d width of a head, L tokens, V vocabulary.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slt.models.signature import GraphSpec, Manifest, Search, StreamSpec, TensorSpec, Tokens, write_manifest
from slt.models.tokenizer import train_tokenizer

WIDTH, HEADS, SIZE, POINTS = 8, 2, 4, 25
HEAD = WIDTH // HEADS
SENTENCES = ["¿Dónde está la casa?", "Mañana el niño no compra pan.", "¡Qué lindo!"]
STREAMS = (
    StreamSpec(
        name="face", kind="crops", dtype="uint8", shape=(3, SIZE, SIZE), folder="face", points=None, size=SIZE
    ),
    StreamSpec(
        name="pose", kind="pose", dtype="float32", shape=(POINTS, 3), folder="pose", points="upper_body", size=None
    ),
)  # fmt: skip


class Encoder(nn.Module):
    """Two streams to memory."""

    def __init__(self) -> None:
        super().__init__()
        self.face, self.pose = nn.Linear(3 * SIZE * SIZE, WIDTH), nn.Linear(3 * POINTS, WIDTH)

    def forward(self, face: Tensor, pose: Tensor, seen_face: Tensor, seen_pose: Tensor, frames: Tensor) -> Any:
        """(B, T, ...) -> memory (B, T, WIDTH) and present (B, T)."""
        x = self.face(face.flatten(2).float() / 50) * seen_face[..., None]
        return x + self.pose(pose.flatten(2)) * seen_pose[..., None], frames.logical_and(frames)


class Cross(nn.Module):
    """Memory to what each step's cross-attention reads."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, WIDTH) -> twice (B, H, T, d)."""
        return split(self.key(memory)), split(self.value(memory))


class Decoder(nn.Module):
    """One layer of self- and cross-attention, one token at a time."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(32, WIDTH)
        self.query, self.key, self.value, self.ask = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.out = nn.Linear(WIDTH, vocabulary)

    def forward(
        self, tokens: Tensor, present: Tensor, position: Tensor, cross_key: Tensor, cross_value: Tensor,
        past_key: Tensor, past_value: Tensor,
    ) -> Any:  # fmt: skip
        """Tokens (N, 1), past (N, H, L, d) -> logits (N, V) and the past (N, H, L + 1, d)."""
        x = self.embed(tokens) + self.places(position)
        key, value = torch.cat([past_key, split(self.key(x))], 2), torch.cat([past_value, split(self.value(x))], 2)
        x = x + attend(split(self.query(x)), key, value, None)
        x = x + attend(split(self.ask(x)), cross_key, cross_value, present[:, None, None])
        return self.out(x)[:, 0], key, value


def split(x: Tensor) -> Tensor:
    """(N, L, WIDTH) -> (N, H, L, d)."""
    return x.unflatten(-1, (HEADS, HEAD)).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, there: Tensor | None) -> Tensor:
    """Attention of (N, H, 1, d) over (N, H, L, d), back to (N, 1, WIDTH)."""
    scores = query @ key.transpose(2, 3) / math.sqrt(HEAD)
    if there is not None:
        scores = scores.masked_fill(~there, -1e9)
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


class Model(nn.Module):
    """The three graphs of the folder, in torch."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.cross, self.decoder = Encoder(), Cross(), Decoder(vocabulary)
        for module in (*self.cross.modules(), *self.decoder.modules()):
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=1.0)


def tensor(name: str, shape: tuple[int | str, ...], dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype=dtype)


CLIP = (tensor("face", ("B", "T", 3, SIZE, SIZE), "uint8"), tensor("pose", ("B", "T", POINTS, 3)),
        *(tensor(name, ("B", "T"), "bool") for name in ("seen_face", "seen_pose", "frames")))  # fmt: skip
MEMORY = (tensor("memory", ("B", "T'", WIDTH)), tensor("present", ("B", "T'"), "bool"))
CROSS = tuple(tensor(f"cross_{what}_0", ("N", HEADS, "T'", HEAD)) for what in ("key", "value"))
PAST = tuple(tensor(f"past_{what}_0", ("N", HEADS, "L", HEAD)) for what in ("key", "value"))
NEW = tuple(tensor(f"new_{what}_0", ("N", HEADS, "L + 1", HEAD)) for what in ("key", "value"))
STEP = (tensor("tokens", ("N", 1), "int64"), MEMORY[1], tensor("position", (), "int64"), *CROSS, *PAST)


def graphs(vocabulary: int) -> dict[str, GraphSpec]:
    return {
        "encoder": GraphSpec(inputs=CLIP, outputs=MEMORY),
        "cross": GraphSpec(inputs=MEMORY[:1], outputs=CROSS),
        "decoder": GraphSpec(inputs=STEP, outputs=(tensor("logits", ("N", vocabulary)), *NEW)),
    }


def example(spec: TensorSpec) -> Tensor:
    """Zeros of a tensor's shape, its letters by some number."""
    sizes = {"B": 2, "N": 2, "T": 3, "T'": 3, "L": 2}
    shape = [sizes[side] if isinstance(side, str) else side for side in spec.shape]
    return torch.zeros(shape, dtype=getattr(torch, spec.dtype))


@pytest.fixture(scope="session")
def words() -> Any:
    return train_tokenizer(SENTENCES, kind="bpe", vocab_size=140)


@pytest.fixture(scope="session")
def model(words: Any) -> Model:
    made = Model(len(words)).eval()
    made.decoder.out.weight.data[words.eos_token_id] *= 3  # so that sentences end, early and late
    return made


@pytest.fixture(scope="session")
def folder(words: Any, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder of `model`; not to be changed (`copy` it)."""
    out = tmp_path_factory.mktemp("exports") / "tiny"
    (out / "tokenizer").mkdir(parents=True)
    words.save_pretrained(out / "tokenizer")
    words.backend_tokenizer.save(str(out / "tokenizer.json"))
    made = graphs(len(words))
    for name, graph in made.items():
        dynamic = {
            each.name: {place: f"{graph}_{side}" for place, side in enumerate(each.shape) if isinstance(side, str)}
            for each in (*graph.inputs, *graph.outputs)
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter that needs no second to start announces its end
            torch.onnx.export(
                getattr(model, name), tuple(map(example, graph.inputs)), out / f"{name}_tiny.onnx", dynamo=False,
                input_names=[each.name for each in graph.inputs], output_names=[each.name for each in graph.outputs],
                dynamic_axes=dynamic,
            )  # fmt: skip
    tokens = Tokens(start=words.bos_token_id, eos=words.eos_token_id, pad=words.pad_token_id, forced_bos=None)
    write_manifest(
        out,
        Manifest(
            name="tiny", streams=STREAMS, graphs=made, fps=None, max_frames=20, tokens=tokens, num_layers=1,
            normalisation={"pose": {"where": "before", "function": "centre_on_shoulders"}},
            extractor="0123456789abcdef", extractor_settings=None, precision="fp32",
            search=Search(num_beams=3, length_penalty=1.0, max_tokens=12), opset=18,
            versions={"torch": torch.__version__}, parity={},
        ),
    )  # fmt: skip
    return out


@pytest.fixture
def clip() -> Any:
    """Make a clip of T frames, by seed."""
    from slt.inference import Inputs

    def make(frames: int, seed: int) -> Inputs:
        rng = np.random.default_rng(seed)
        seen = {name: rng.random(frames) > 0.2 for name in ("face", "pose")}
        face = rng.integers(0, 256, (frames, 3, SIZE, SIZE)).astype(np.uint8) * seen["face"][:, None, None, None]
        pose = rng.standard_normal((frames, POINTS, 3)).astype(np.float32) * seen["pose"][:, None, None]
        return Inputs({"face": face, "pose": pose}, seen)

    return make
