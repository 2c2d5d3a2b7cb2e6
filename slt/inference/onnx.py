"""An exported folder at work: arrays of a clip in, sentences out, by onnxruntime, numpy and tokenizers alone.

Shape letters: B clips, T frames, T' frames after the temporal encoder, N hypotheses of all clips, H heads, d width of a
head, L tokens written, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from slt.files import rebuilding
from slt.models.confidence import Confidence, refuse_abstaining, signals
from slt.models.search import Floats, Found, Ids, Search, likeliest, search
from slt.models.signature import FILE, StreamSpec, read_manifest
from slt.streams.sample import Inputs, pad_clips
from slt.text import clean

Array = NDArray[Any]
SMALL = 16 * 2**20  # bytes of a graph


@dataclass(frozen=True)
class Hypothesis:
    """A sentence, its score (log-probability over the length to the power of the length penalty) and its tokens.

    The best one of a clip has a `confidence` too, the probability that it is good, where the model says it.
    """

    text: str
    score: float
    ids: tuple[int, ...]
    confidence: float | None = None


class SentenceTranslator:
    """Whatever turns a clip into sentences: an exported folder, TorchScript, a checkpoint.

    Attributes:
        streams: what a clip must have, in this order.
        fps, max_frames: which frames of a clip it wants (`slt.streams.sample`); None = all.
        extractor: fingerprint of what cut the crops it was trained on; None = not known.
        search: as in the evaluation of training.
        confidence: how sure a sentence is; None where the training did not find out.
        reads_context: whether `write` takes `contexts`, the sentence before each clip in its film, "" of a first.
    """

    reads_context: bool = False
    streams: tuple[StreamSpec, ...]
    fps: float | None
    max_frames: int | None
    extractor: str | None
    search: Search
    confidence: Confidence | None

    def translate(self, clip: Inputs, **options: Any) -> list[Hypothesis]:
        """Return the sentences of a clip, best first; options as in `asked`.

        Raises:
            ValueError: a stream that is missing, not known, or of another shape or type than the encoder reads.
        """
        return self.translate_batch([clip], **options)[0]

    def translate_batch(self, clips: Sequence[Inputs], **options: Any) -> list[list[Hypothesis]]:
        """Return the sentences of each of B clips, best first, of any lengths: they are padded to the longest."""
        return self.write(self.encode(clips), **options) if clips else []

    def encode(self, clips: Sequence[Inputs]) -> Any:
        """Run the encoder on B clips; what comes out is for `write`."""
        raise NotImplementedError

    def write(self, encoded: Any, **options: Any) -> list[list[Hypothesis]]:
        """Search the sentences of each encoded clip, best first; options as in `asked`."""
        raise NotImplementedError

    def features(self, clips: Sequence[Inputs]) -> list[NDArray[np.float32]]:
        """Return what the encoder makes of each of B clips, (T', D) each: what the decoder reads of it."""
        memory, present = self._memory(self.padded(clips))
        return [np.asarray(one[there], np.float32) for one, there in zip(memory, present, strict=True)]

    def _memory(self, padded: tuple[dict[str, Array], dict[str, Array], Array]) -> tuple[Array, Array]:
        """What the encoder makes of what `padded` gave: (B, T', D) and present (B, T')."""
        raise NotImplementedError

    def asked(self, **options: Any) -> Search:
        """Return the model's search with the values of a `Search` that are given; `nbest` is the caller's alone.

        Raises:
            ValueError: `nbest` above `num_beams`, or `max_tokens` above the model's.
        """
        found = replace(self.search, nbest=None).with_(**options)
        if found.max_tokens > self.search.max_tokens:
            raise ValueError(
                f"search.max_tokens={found.max_tokens}: the model writes at most {self.search.max_tokens} tokens"
            )
        return found

    def refuse_abstaining(self, abstain: float | None, **options: Any) -> None:
        """Raise ValueError where sentences of this search cannot be refused for want of confidence; None is no wish."""
        refuse_abstaining(abstain, self.confidence, self.asked(**options))

    def hypotheses(
        self, found: Sequence[Sequence[Found]], texts: Sequence[Sequence[str]], looks: Sequence[Look], wanted: Search
    ) -> list[list[Hypothesis]]:
        """Return what was found in each of B clips as sentences, as many as are wanted, and how sure the best is."""
        sure = self.confidence is not None and self.confidence.fits(wanted)
        said = []
        for each, own, look in zip(found, texts, looks, strict=True):
            kept = [Hypothesis(text, one.score, one.ids) for text, one in zip(own, each, strict=True)]
            if sure:
                assert self.confidence is not None
                told = signals(each, seen=look.seen, frames=look.frames)
                kept[0] = replace(kept[0], confidence=self.confidence(told, kept[0].text))
            said.append(kept[: wanted.nbest])
        return said

    def padded(self, clips: Sequence[Inputs]) -> tuple[dict[str, Array], dict[str, Array], Array]:
        """Check and pad B clips: streams (B, T, ...), seen marks (B, T) and frames (B, T)."""
        for clip in clips:
            check_inputs(clip, self.streams, self.max_frames)
        return pad_clips(clips)


class Look(NamedTuple):
    """How much there was to see in a clip: its frames, and in which share of them, over streams, these were seen."""

    frames: int
    seen: float

    @classmethod
    def all(cls, seen: Mapping[str, Array], frames: Array) -> list[Look]:
        """Return those of B padded clips."""
        counts = frames.sum(1)
        shares = np.mean([marks.sum(1) for marks in seen.values()], axis=0) / counts
        return [cls(int(count), float(share)) for count, share in zip(counts, shares, strict=True)]


@dataclass(frozen=True)
class Encoded:
    """B clips after the encoder: the cross-attention's keys and values, name -> (B, H, T', d), and present (B, T')."""

    cross: dict[str, Array]
    present: NDArray[np.bool_]
    looks: list[Look]


class OnnxTranslator(SentenceTranslator):
    """The translator of an exported folder.

    Args:
        folder: as `python -m slt.export` writes it; every file is held against the manifest first.
        providers: onnxruntime's execution providers, first choice first; None = the CPU's. One that is not there is
            refused, and nothing falls back to the CPU unasked.
        threads: of each operator; None = one a core, and one for a small decoder, whose operators two only hold up.
        spinning: whether threads that wait for work keep their core busy. Beside anything that wants the same cores, as
            landmarkers do, a step takes about twice as long with it.
        optimisation: how far onnxruntime rewrites the graphs: none, basic, extended or all.

    Raises:
        FileNotFoundError, ValueError: see `slt.models.signature.read_manifest`; or an option that is none.
        ModuleNotFoundError: onnxruntime is not installed.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        spinning: bool = False,
        optimisation: str = "all",
    ) -> None:
        self.folder = Path(folder)
        self.manifest = manifest = read_manifest(self.folder)
        self.streams, self.search, self.extractor = manifest.streams, manifest.search, manifest.extractor
        self.confidence = manifest.confidence
        self.fps, self.max_frames = manifest.fps, manifest.max_frames
        with rebuilding(self.folder / "tokenizer.json"):
            self.tokenizer: Any = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        self._sessions = {
            graph: open_session(
                self.folder / manifest.graph_file(graph),
                providers=providers,
                threads=self._threads(graph) if threads is None else threads,
                spinning=spinning,
                optimisation=optimisation,
            )
            for graph in manifest.graphs
        }
        size = self.tokenizer.get_vocab_size()
        if strange := {key: of for key, of in vars(manifest.tokens).items() if of is not None and not 0 <= of < size}:
            raise ValueError(f"{self.folder / FILE}: tokens {strange} are none of the tokenizer's {size}; export again")

    def _threads(self, graph: str) -> int | None:
        small = (self.folder / self.manifest.graph_file(graph)).stat().st_size < SMALL
        return 1 if small and graph != "encoder" else None

    def encode(self, clips: Sequence[Inputs]) -> Encoded:
        """Run the encoder on B clips, and what of the decoder depends on them alone."""
        padded = self.padded(clips)
        with rebuilding(self.folder / FILE):  # which says what the graphs take and give
            memory, present = self._memory(padded)
            return Encoded(cross_of(self._sessions["cross"], memory), present, Look.all(*padded[1:]))

    def _memory(self, padded: tuple[dict[str, Array], dict[str, Array], Array]) -> tuple[Array, Array]:
        memory, present = self._sessions["encoder"].run(["memory", "present"], feeds(*padded))
        return memory, present

    def write(self, encoded: Encoded, **options: Any) -> list[list[Hypothesis]]:
        wanted = self.asked(**options)
        step = Step(self._sessions["decoder"], encoded, self.folder / FILE)
        found = search(step, len(encoded.present), self.manifest.tokens, replace(wanted, nbest=None))
        texts = [[self._text(one) for one in sentences] for sentences in found]
        return self.hypotheses(found, texts, encoded.looks, wanted)

    def _text(self, found: Found) -> str:
        return clean(self.tokenizer.decode(list(found.ids), skip_special_tokens=True))


def feeds(streams: Mapping[str, Any], seen: Mapping[str, Any], frames: Any) -> dict[str, Any]:
    """Return a batch as the encoder's graph takes it, by name."""
    return {**streams, **{f"seen_{name}": marks for name, marks in seen.items()}, "frames": frames}


def cross_of(session: Any, memory: Array) -> dict[str, Array]:
    """Run the graph that is run once a clip on (B, T', D): its outputs by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"memory": memory}), strict=True))


class Step:
    """The decoder's graph as the search asks it: one token for every hypothesis, keys and values of the past kept."""

    def __init__(self, session: Any, encoded: Encoded, where: Path) -> None:
        self._session, self._where = session, where
        self._outputs = [output.name for output in session.get_outputs()]
        self._fixed: dict[str, Array] = {**encoded.cross, "present": encoded.present}
        inputs = {each.name: each.shape for each in session.get_inputs()}
        self._past = {
            name: np.zeros((len(encoded.present), shape[1], 0, shape[3]), np.float32)
            for name, shape in inputs.items()
            if name.startswith("past_")
        }
        self._counted = "position" in inputs  # in folders that were exported before the graph counted by itself
        self._length = 0

    def __call__(self, tokens: Ids, order: Ids, count: int) -> tuple[Floats, Ids]:
        """See `slt.models.search.Step`."""
        return likeliest(self.logits(tokens, order), count)

    def logits(self, tokens: Ids, order: Ids) -> Floats:
        """Return (N, V) of what follows the last tokens (N,), each of the hypothesis (N,) of the step before."""
        rows = len(self._fixed["present"])
        if len(order) != rows:  # clips keep their order, so as many rows as before are of the same clips
            self._fixed = {name: array.take(order, axis=0) for name, array in self._fixed.items()}
        if len(order) != rows or (order != np.arange(rows)).any():
            self._past = {name: array.take(order, axis=0) for name, array in self._past.items()}
        given = {"tokens": tokens[:, None], **self._fixed, **self._past}
        if self._counted:
            given["position"] = np.array(self._length, np.int64)
        with rebuilding(self._where):
            logits, *new = self._session.run(self._outputs, given)
        kept = dict(zip(self._outputs[1:], new, strict=True))
        self._past = {name: kept[name.replace("past_", "new_", 1)] for name in self._past}
        self._length += 1
        return np.asarray(logits)


def check_inputs(clip: Inputs, streams: Sequence[StreamSpec], max_frames: int | None) -> None:
    """Refuse a clip that an encoder of these streams cannot read, naming the stream."""
    names = [stream.name for stream in streams]
    for what, given in (("streams", clip.streams), ("seen", clip.seen)):
        if set(given) != set(names):
            raise ValueError(f"{what}: the model reads {', '.join(names)}, came {', '.join(given) or 'none'}")
    length = len(clip.streams[names[0]])
    for stream in streams:
        array = clip.streams[stream.name]
        stream.check(array, clip.seen[stream.name])
        if len(array) != length:
            raise ValueError(f"stream {stream.name!r}: {length} frames expected as in {names[0]!r}, came {len(array)}")
    if max_frames is not None and length > max_frames:
        raise ValueError(
            f"a clip of {length} frames: the model was trained on at most {max_frames}; thin it as inference.inputs "
            "does, or cut it"
        )


def open_session(
    path: Path, *, providers: Sequence[str] | None, threads: int | None, spinning: bool, optimisation: str
) -> Any:
    """Open a graph with onnxruntime; see `OnnxTranslator`."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'exported models need onnxruntime: pip install "slt[export]" ({error})') from error
    chosen, there = list(providers or ["CPUExecutionProvider"]), onnxruntime.get_available_providers()
    if missing := [name for name in chosen if name not in there]:
        raise ValueError(f"providers: {', '.join(missing)} is not in this onnxruntime, which has {', '.join(there)}")
    levels = {"none": "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED", "all": "ENABLE_ALL"}
    if optimisation not in levels:
        raise ValueError(f"optimisation must be one of {', '.join(levels)}, came {optimisation!r}")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{levels[optimisation]}")
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    with rebuilding(path):
        session = onnxruntime.InferenceSession(str(path), options, providers=chosen)
    if session.get_providers()[0] != chosen[0]:  # it only warns
        raise ValueError(f"providers: {chosen[0]} does not start here; onnxruntime would use {session.get_providers()}")
    return session
