"""An exported folder at work: arrays of a clip in, sentences out, by onnxruntime, numpy and tokenizers alone.

Shape letters: B clips, T frames, T' frames after the temporal encoder, N hypotheses of all clips, H heads, d width of a
head, L tokens written, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from slt.files import rebuilding
from slt.models.search import Floats, Found, Ids, Search, likeliest, search
from slt.models.signature import FILE, GraphSpec, StreamSpec, check_extractor, read_manifest
from slt.streams.sample import Inputs
from slt.text import clean

Array = NDArray[Any]


@dataclass(frozen=True)
class Hypothesis:
    """A sentence, its score (log-probability over the length to the power of the length penalty) and its tokens."""

    text: str
    score: float
    ids: tuple[int, ...]


class SentenceTranslator(Protocol):
    """Whatever turns a clip into sentences: an exported folder, TorchScript, a checkpoint.

    Attributes:
        streams: what a clip must have, in this order.
        fps, max_frames: which frames of a clip it wants (`slt.streams.sample`); None = all.
        extractor: fingerprint of what cut the crops it was trained on; None = not known.
    """

    streams: tuple[StreamSpec, ...]
    fps: float | None
    max_frames: int | None
    extractor: str | None

    def encode(self, clips: Sequence[Inputs]) -> Any:
        """Run the encoder on B clips; what comes out is for `write`."""

    def write(
        self,
        encoded: Any,
        *,
        num_beams: int | None = None,
        length_penalty: float | None = None,
        nbest: int | None = None,
        max_tokens: int | None = None,
    ) -> list[list[Hypothesis]]:
        """Search the sentences of each encoded clip, best first; what is None is as in the evaluation of training."""

    def translate(
        self,
        clip: Inputs,
        *,
        num_beams: int | None = None,
        length_penalty: float | None = None,
        nbest: int | None = None,
        max_tokens: int | None = None,
    ) -> list[Hypothesis]:
        """Return the sentences of a clip, best first."""


@dataclass(frozen=True)
class Encoded:
    """B clips after the encoder: what the cross-attention of each decoder layer reads, and which frames are there.

    Attributes:
        cross: name of the decoder's input -> (B, H, T', d).
        present: bool (B, T').
    """

    cross: dict[str, Array]
    present: NDArray[np.bool_]


class OnnxTranslator:
    """The translator of an exported folder.

    Args:
        folder: as `python -m slt.export` writes it; every file is held against the manifest first.
        providers: onnxruntime's execution providers, first choice first; None = the CPU's. One that is not there is
            refused, and nothing falls back to the CPU unasked.
        threads: of each operator; None = one a core.
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
        self.manifest = read_manifest(self.folder)
        self.streams = self.manifest.streams
        self.fps, self.max_frames = self.manifest.fps, self.manifest.max_frames
        self.extractor = self.manifest.extractor
        with rebuilding(self.folder / "tokenizer.json"):
            self.tokenizer: Any = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        self._sessions = {
            graph: open_session(
                self.folder / self.manifest.graph_file(graph),
                providers=providers,
                threads=threads,
                spinning=spinning,
                optimisation=optimisation,
            )
            for graph in self.manifest.graphs
        }
        size = self.tokenizer.get_vocab_size()
        if strange := {
            key: of for key, of in vars(self.manifest.tokens).items() if of is not None and not 0 <= of < size
        }:
            raise ValueError(f"{self.folder / FILE}: tokens {strange} are none of the tokenizer's {size}; export again")

    def check_extractor(self, came: str | None, *, where: str, allowed: bool) -> None:
        """Refuse what another extractor cut; see `slt.models.signature.check_extractor`."""
        check_extractor(self.manifest, came, where=where, allowed=allowed)

    def translate(self, clip: Inputs, **options: Any) -> list[Hypothesis]:
        """Return the sentences of a clip, best first; options as in `write`.

        Raises:
            ValueError: a stream that is missing, not known, or of another shape or type than the encoder reads.
        """
        return self.translate_batch([clip], **options)[0]

    def translate_batch(self, clips: Sequence[Inputs], **options: Any) -> list[list[Hypothesis]]:
        """Return the sentences of each of B clips, best first, of any lengths: they are padded to the longest."""
        return self.write(self.encode(clips), **options) if clips else []

    def encode(self, clips: Sequence[Inputs]) -> Encoded:
        """Run the encoder on B clips, and what of the decoder depends on them alone."""
        for clip in clips:
            check_inputs(clip, self.streams, self.max_frames)
        arrays = pad_clips(clips, self.streams)
        names = [output.name for output in self.manifest.graphs["cross"].outputs]
        with rebuilding(self.folder / FILE):  # which says what the graphs take and give
            memory, present = self._sessions["encoder"].run(["memory", "present"], arrays)
            cross = self._sessions["cross"].run(names, {"memory": memory})
        return Encoded(dict(zip(names, cross, strict=True)), present)

    def write(
        self,
        encoded: Encoded,
        *,
        num_beams: int | None = None,
        length_penalty: float | None = None,
        nbest: int | None = None,
        max_tokens: int | None = None,
    ) -> list[list[Hypothesis]]:
        """Search the sentences of B encoded clips.

        Args:
            encoded: from `encode`.
            num_beams: beams, 1 is greedy; None = as in the evaluation of training, of the others too.
            length_penalty: power of the length by which a hypothesis' log-probability is divided.
            nbest: sentences a clip; None = one a beam.
            max_tokens: longest sentence, in tokens, at most that of the manifest.

        Returns:
            For each clip its sentences, best first.

        Raises:
            ValueError: `nbest` above `num_beams`, or `max_tokens` above that of the manifest.
        """
        options = asked(
            self.manifest.search, num_beams=num_beams, length_penalty=length_penalty, nbest=nbest, max_tokens=max_tokens
        )
        longest = self.manifest.search.max_tokens
        if options.max_tokens > longest:
            raise ValueError(
                f"max_tokens={max_tokens}: the folder was exported for sentences of at most {longest} tokens"
            )
        step = _Step(self._sessions["decoder"], self.manifest.graphs["decoder"], encoded, self.folder)
        found = search(step, len(encoded.present), self.manifest.tokens, options)
        return [[self._hypothesis(one) for one in sentences] for sentences in found]

    def _hypothesis(self, found: Found) -> Hypothesis:
        text = self.tokenizer.decode(list(found.ids), skip_special_tokens=True)
        return Hypothesis(clean(text), found.score, found.ids)


class _Step:
    """The decoder's graph as the search asks it: one token for every hypothesis, keys and values of the past kept."""

    def __init__(self, session: Any, graph: GraphSpec, encoded: Encoded, folder: Path) -> None:
        self._session, self._folder = session, folder
        self._outputs = [output.name for output in graph.outputs]
        self._fixed: dict[str, Array] = {**encoded.cross, "present": encoded.present}
        rows = len(encoded.present)
        self._past = {
            each.name: np.zeros((rows, int(each.shape[1]), 0, int(each.shape[3])), each.dtype)
            for each in graph.inputs
            if each.name.startswith("past_")
        }
        self._counted = any(each.name == "position" for each in graph.inputs)
        self._length = 0

    def __call__(self, tokens: Ids, order: Ids, count: int) -> tuple[Floats, Ids]:
        """See `slt.models.search.Step`."""
        rows = len(self._fixed["present"])
        if len(order) != rows:  # clips keep their order, so as many rows as before are of the same clips
            self._fixed = {name: array.take(order, axis=0) for name, array in self._fixed.items()}
        if len(order) != rows or (order != np.arange(rows)).any():
            self._past = {name: array.take(order, axis=0) for name, array in self._past.items()}
        feeds = {"tokens": tokens[:, None], **self._fixed, **self._past}
        if self._counted:
            feeds["position"] = np.array(self._length, np.int64)
        with rebuilding(self._folder / FILE):
            logits, *new = self._session.run(self._outputs, feeds)
        kept = dict(zip(self._outputs[1:], new, strict=True))
        self._past = {name: kept[name.replace("past_", "new_", 1)] for name in self._past}
        self._length += 1
        return likeliest(logits, count)


def asked(default: Search, **given: Any) -> Search:
    """Return a model's search with what a caller gives (not None) in its place; `nbest` is the caller's alone."""
    return replace(default, nbest=None).with_(**given)


def check_inputs(clip: Inputs, streams: Sequence[StreamSpec], max_frames: int | None) -> None:
    """Refuse a clip that an encoder of these streams cannot read.

    Raises:
        ValueError: naming the stream: missing, not known, of another shape or dtype, of another length than the first,
            or longer than `max_frames`.
    """
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


def pad_clips(clips: Sequence[Inputs], streams: Sequence[StreamSpec]) -> dict[str, Array]:
    """Return the encoder's inputs: streams (B, T, ...) and seen marks (B, T) padded with zeros, and `frames` (B, T)."""
    lengths = [len(clip.seen[streams[0].name]) for clip in clips]
    arrays: dict[str, Array] = {}
    for stream in streams:
        arrays[stream.name] = _padded([clip.streams[stream.name] for clip in clips], max(lengths))
        arrays[f"seen_{stream.name}"] = _padded([clip.seen[stream.name] for clip in clips], max(lengths))
    arrays["frames"] = np.arange(max(lengths)) < np.array(lengths)[:, None]
    return arrays


def _padded(arrays: Sequence[Array], length: int) -> Array:
    """Return arrays (T, ...) of different T as one (B, length, ...)."""
    if len(arrays) == 1:
        return arrays[0][None]
    out = np.zeros((len(arrays), length, *arrays[0].shape[1:]), arrays[0].dtype)
    for place, array in enumerate(arrays):
        out[place, : len(array)] = array
    return out


def open_session(
    path: Path, *, providers: Sequence[str] | None, threads: int | None, spinning: bool, optimisation: str
) -> Any:
    """Open a graph with onnxruntime; arguments and errors as in `OnnxTranslator`."""
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
