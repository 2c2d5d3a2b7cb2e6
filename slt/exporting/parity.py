"""Proof that what was exported computes what was trained: graphs against the model, sentences against its own.

Shape letters: B clips, T frames, T' frames after the temporal encoder, L tokens, V vocabulary, D the decoder's hidden
size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from slt.evaluation.metrics import bleu
from slt.inference.checkpoint import load_torchscript
from slt.inference.onnx import (
    Encoded,
    Hypothesis,
    Inputs,
    SentenceTranslator,
    Step,
    cross_of,
    feeds,
    open_session,
)
from slt.models.tokenizer import Tokenize
from slt.models.trained import Trained
from slt.streams.batch import Batch, Collate, Sample, collate

# Float32 sums in another order differ in the sixth digit; a wrong weight, mask or position differs in the first ones.
TOLERANCE = 1e-4
BATCH = 8  # clips a batch where all of a split is looked at


class ParityError(ValueError):
    """Something exported computes other numbers or sentences than the model."""


@dataclass
class Largest:
    """The largest difference so far between a graph and the model, relative to the largest number of its batch.

    `strict` raises where it is above `TOLERANCE`, and does not only keep it.
    """

    graph: str
    strict: bool
    value: float = 0.0

    def see(self, wanted: NDArray[Any], came: NDArray[Any], where: str) -> None:
        """Compare two arrays; ParityError where their shapes differ or a number is not finite."""
        if wanted.shape != came.shape:
            raise ParityError(f"{self.graph}, {where}: shape {wanted.shape} expected, came {came.shape}")
        if not wanted.size:
            return
        difference = np.abs(wanted.astype(np.float64) - came)
        relative = float(difference.max()) / max(1.0, float(np.abs(wanted).max()))
        # not <=: a NaN is no less than anything
        if not np.isfinite(relative) or (self.strict and not relative <= TOLERANCE):
            place = tuple(int(i) for i in np.unravel_index(int(np.nanargmax(difference)), difference.shape)) if (
                np.isfinite(difference).any()) else "everywhere"  # fmt: skip
            raise ParityError(
                f"{self.graph}, {where}: differs from the model by {relative:.3g} of its largest number at {place} "
                f"({TOLERANCE:g} is allowed)"
            )
        self.value = max(self.value, relative)


class Given(NamedTuple):
    """One batch that both sides are asked, with a name for messages."""

    batch: Batch
    name: str


# ---------------------------------------------------------------- what is asked


def random_batches(trained: Trained, count: int, seed: int) -> Iterator[Given]:
    """Noise of several lengths: padding, frames not seen, streams never seen, and at last nothing seen at all."""
    rng = np.random.default_rng(seed)
    limit = min(bound for bound in (12, trained.max_frames, trained.longest) if bound is not None)
    for number in range(count):
        lengths = [1] if number == 0 else rng.integers(1, limit + 1, 1 + number % 3).tolist()
        dropped = {"all"} if number == count - 1 else set(rng.choice([s.name for s in trained.streams], number % 2))
        samples = [_noise(trained, length, rng, dropped) for length in lengths]
        without = f", {' and '.join(sorted(dropped))} not seen" if dropped else ""
        yield Given(collate(samples), f"random batch {number} of {lengths} frames{without}")


def _noise(trained: Trained, length: int, rng: np.random.Generator, dropped: set[str]) -> Sample:
    noise = Sample(id="random", text="", streams={}, seen={})
    for stream in trained.streams:
        there = rng.random(length) < 0.8
        if dropped & {stream.name, "all"}:
            there[:] = False
        shape = (length, *stream.shape)
        x = rng.integers(0, 256, shape) if stream.kind == "crops" else rng.normal(0, 1, shape)
        if stream.kind == "pose":
            x[..., 2] = rng.random(shape[:-1]) * (rng.random(shape[:-1]) < 0.9)  # some points without confidence
        x[~there] = 0
        noise.streams[stream.name], noise.seen[stream.name] = x.astype(stream.dtype), there
    return noise


def real_batches(trained: Trained, clips: Any, count: int, seed: int) -> Iterator[Given]:
    """Clips of a split with their sentences: the shortest and the longest, alone and padded, some without a stream."""
    rng = np.random.default_rng(seed)
    order = np.argsort(clips.lengths, kind="stable")
    tokenize = Collate(Tokenize(trained.tokenizer, trained.translator.decoder.max_tokens))
    for number in range(count):
        chosen = [order[0], order[-1]] if number == 0 else rng.choice(order, min(len(order), 1 + number % 3), False)
        samples = [clips[int(index)] for index in chosen]
        name = f"clips {', '.join(sample.id for sample in samples)}"
        if number % 3 == 2:
            dropped = trained.streams[number % len(trained.streams)].name
            samples[0].streams[dropped] = np.zeros_like(samples[0].streams[dropped])
            samples[0].seen[dropped] = np.zeros_like(samples[0].seen[dropped])
            name += f", {dropped} of {samples[0].id} not seen"
        yield Given(tokenize(samples), name)


# ---------------------------------------------------------------- graphs


def compare_graphs(
    trained: Trained, files: Mapping[str, Path], given: Sequence[Given], *, strict: bool
) -> dict[str, Any]:
    """Ask the model and its graphs the same batches: graph -> its largest difference (`Largest`).

    Args:
        trained: the model, on the CPU.
        files: `encoder`, `cross`, `decoder` -> ONNX file; `torchscript` -> the encoder's.
        given: what is asked; the decoder is asked for what has sentences.
        strict: raise where an ONNX graph differs; TorchScript never may.
    """
    sessions = {name: open_session(path, providers=None, threads=None, spinning=False, optimisation="all")
                for name, path in files.items() if name != "torchscript"}  # fmt: skip
    script = load_torchscript(files["torchscript"], torch.device("cpu"))
    names = [each.name for each in sessions["encoder"].get_inputs()]
    # The keys and values of cross-attention show in what the decoder makes of them.
    largest = {name: Largest(files[name].name, strict or name == "torchscript")
               for name in ("encoder", "torchscript", "decoder")}  # fmt: skip
    for batch, title in given:
        inputs = feeds(batch.streams, batch.seen, batch.frames)
        with torch.inference_mode():
            out, present = trained.translator.read(batch.streams, batch.seen, batch.frames)
            decoder: Any = trained.translator.decoder
            memory, there = decoder.encode(out, present).numpy(), decoder.marks(present).numpy()
            scripted = [tensor.numpy() for tensor in script(*(inputs[name] for name in names))]
        run = sessions["encoder"].run(["memory", "present"], {name: inputs[name].numpy() for name in names})
        for graph, (found, mask) in (("torchscript", scripted), ("encoder", run)):
            if not np.array_equal(mask, there):
                raise ParityError(f"{files[graph].name}, {title}: marks other frames as present than the model")
            # What stands on padding is read by nobody, and kernels differ in what they leave there.
            largest[graph].see(memory[there], found[there], title)
        if batch.tokens is not None:
            with torch.inference_mode():
                wanted = decoder(out, present, batch.tokens).numpy()
            encoded = Encoded(cross_of(sessions["cross"], memory), there, looks=[])
            step = Step(sessions["decoder"], encoded, files["decoder"])
            _compare_decoder(step, largest["decoder"], batch, wanted, trained.tokens.start, title)
    return {graph: one.value for graph, one in largest.items()}


def _compare_decoder(step: Step, largest: Largest, batch: Batch, wanted: NDArray[Any], start: int, title: str) -> None:
    """Hold the graph, token by token with the cache, against the teacher-forced logits (B, L, V) of the model."""
    assert batch.tokens is not None
    assert batch.tokens_mask is not None
    tokens, mask, rows = batch.tokens.numpy(), batch.tokens_mask.numpy(), np.arange(len(wanted))
    last = np.full(len(tokens), start)
    for place in range(tokens.shape[1]):
        logits = step.logits(last, rows)  # keys of padding differ, and are hidden by `present`
        there = mask[:, place]
        largest.see(wanted[there, place], logits[there], f"token {place} of {title}")
        last = tokens[:, place]


# ---------------------------------------------------------------- sentences


@dataclass(frozen=True)
class Sentences:
    """What the model wrote of a split's clips and what the exported folder did, in one kind of search."""

    kind: str
    beams: int
    ids: Sequence[str]
    references: Sequence[str]
    wanted: Sequence[Hypothesis]
    came: Sequence[Hypothesis]

    @property
    def differing(self) -> list[int]:
        """The clips whose sentences are not the same."""
        pairs = zip(self.wanted, self.came, strict=True)
        return [place for place, (wanted, came) in enumerate(pairs) if wanted.text != came.text]

    @property
    def bleu(self) -> dict[str, float]:
        """The scores of both."""
        sides = {"checkpoint": self.wanted, "exported": self.came}
        return {side: bleu([one.text for one in found], self.references) for side, found in sides.items()}

    def refuse_differing(self, folder: str) -> None:
        """Raise ParityError where a sentence is not the same, naming the first such clip and both sentences."""
        if wrong := self.differing:
            wanted, came = self.wanted[wrong[0]], self.came[wrong[0]]
            raise ParityError(
                f"{folder}, {self.kind} search: {len(wrong)} of {len(self.ids)} sentences are not those of the "
                f"checkpoint; the first is clip {self.ids[wrong[0]]}: {came.text!r} (score {came.score:.6f}) where the "
                f"checkpoint writes {wanted.text!r} ({wanted.score:.6f})"
            )


def kinds_of_search(num_beams: int) -> dict[str, int]:
    """Kind -> beams: greedy, and the beam of the evaluation where that is not greedy itself."""
    return {"greedy": 1} | ({"beam": num_beams} if num_beams > 1 else {})


def chunks(clips: Any, count: int) -> Iterator[list[Inputs]]:
    """Read the first `count` clips, some at a time."""
    for begin in range(0, count, BATCH):
        yield [clips[index] for index in range(begin, min(begin + BATCH, count))]


def write_sentences(
    trained: Trained, translator: SentenceTranslator, asked: SentenceTranslator, clips: Any, limit: int | None
) -> list[Sentences]:
    """Ask the checkpoint (`asked`, in float32) and the exported folder (`translator`) for the sentences of a split."""
    count = len(clips) if limit is None else min(limit, len(clips))
    found = []
    for kind, beams in kinds_of_search(trained.search.num_beams).items():
        options = {"num_beams": beams, "nbest": 1}
        wanted, came = [], []
        for inputs in chunks(clips, count):
            wanted += [best for (best,) in asked.translate_batch(inputs, **options)]
            # One by one, as they come in use: quantised activations share one scale in a batch.
            came += [translator.translate(clip, **options)[0] for clip in inputs]
        found.append(Sentences(kind, beams, clips.ids[:count], clips.texts[:count], wanted, came))
    return found
