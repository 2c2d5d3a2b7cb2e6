"""Beam search in numpy: logits step by step in, token ids and their scores out; the sentences of transformers' own.

The rules are those of transformers 5 (`generate` as `slt.models.decoder` calls it), so that an exported model writes
what was evaluated. Shape letters: B clips, K beams, N rows (the hypotheses of all clips, one behind the other),
L tokens written so far, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Search:
    """How sentences are searched for: beams (1 is greedy), length penalty, most tokens, and sentences a clip.

    `nbest` of None is one a beam.

    Raises:
        ValueError: a value out of its range, or more sentences than beams.
    """

    num_beams: int
    length_penalty: float
    max_tokens: int
    nbest: int | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.num_beams <= 1000 and 1 <= self.max_tokens <= 100_000 and abs(self.length_penalty) <= 100):
            raise ValueError(
                f"search: num_beams from 1 to 1000, max_tokens from 1 to 100000 and length_penalty from -100 to 100 "
                f"expected, came {self.num_beams}, {self.max_tokens} and {self.length_penalty}"
            )
        if self.nbest is not None and not 1 <= self.nbest <= self.num_beams:
            raise ValueError(
                f"search.nbest={self.nbest}: expected 1 to {self.num_beams}, the beams of the search; raise "
                "search.num_beams with it"
            )

    def with_(self, **given: Any) -> Search:
        """Return this search with the values that are given; what is None stays as it is."""
        return replace(self, **{key: value for key, value in given.items() if value is not None})


class Found(NamedTuple):
    """A finished sentence: its tokens without the start token, with the end token where it has one, and its score.

    The score is the sum of the tokens' log-probabilities over their number to the power of the length penalty.
    """

    score: float
    ids: tuple[int, ...]


class Step(Protocol):
    """The decoder, asked for one more token of every hypothesis."""

    def __call__(self, tokens: Ids, order: Ids) -> Floats:
        """Return the logits (N, V) of what follows.

        Args:
            tokens: (N,) the last token of each hypothesis, not yet in the decoder's cache.
            order: (N,) which row of the step before each hypothesis continues; clips keep their order, finished ones
                have no row any more. At the first step there is one row a clip, and this is 0, 1, ... B - 1.
        """


def search(
    step: Step,
    clips: int,
    *,
    start: int,
    eos: int,
    pad: int,
    forced_bos: int | None,
    num_beams: int,
    length_penalty: float,
    max_tokens: int,
    nbest: int,
) -> list[list[Found]]:
    """Search the sentences of B clips: greedy with one beam, else with a beam.

    Args:
        step: the decoder.
        clips: B.
        start: the token before the first.
        eos: the token after the last.
        pad: the token that greedy scores leave out.
        forced_bos: the first token where the model must not choose it; else None.
        num_beams: K.
        length_penalty: see `Found`; above 1 prefers long sentences.
        max_tokens: longest sentence, in tokens; what has not ended by then is cut there.
        nbest: sentences a clip.

    Returns:
        For each clip its `nbest` sentences, best first (fewer only where `forced_bos` leaves no choice).

    Raises:
        ValueError: `nbest` above `num_beams`, or an option below its least value.
    """
    if min(num_beams, max_tokens, nbest) < 1 or nbest > num_beams:
        raise ValueError(
            "expected num_beams and max_tokens of at least 1 and nbest from 1 to num_beams, came "
            f"num_beams={num_beams}, max_tokens={max_tokens}, nbest={nbest}"
        )
    if num_beams == 1:
        return [[one] for one in _greedy(step, clips, start, eos, pad, forced_bos, length_penalty, max_tokens)]
    beams = _Beams(clips, num_beams, eos, length_penalty)
    tokens, order = np.full(clips, start, np.int64), np.arange(clips)
    for length in range(1, max_tokens + 1):
        log_probs = log_softmax(step(tokens, order))
        if length == 1 and forced_bos is not None:
            log_probs = _forced(log_probs, forced_bos)
        order = beams.extend(log_probs, length, last=length == max_tokens)
        if not len(order):
            break
        tokens = beams.written[:, :, -1].reshape(-1)
    return [found[:nbest] for found in beams.found]


class _Beams:
    """The running and the finished hypotheses of every clip.

    Attributes:
        written: (B', K, L) the tokens of the running ones, best first, of the B' clips that are not done.
        scores: (B', K) their summed log-probabilities.
        found: for each of all B clips its finished ones, best first, at most K.
    """

    def __init__(self, clips: int, num_beams: int, eos: int, length_penalty: float) -> None:
        self.num_beams, self.eos, self.length_penalty = num_beams, eos, length_penalty
        self.found: list[list[Found]] = [[] for _ in range(clips)]
        self.clips = np.arange(clips)  # (B',) which are not done
        self.written = np.zeros((clips, 1, 0), np.int64)  # one row a clip at first: K alike would be K times the same
        self.scores = np.zeros((clips, 1), np.float32)

    def extend(self, log_probs: Floats, length: int, *, last: bool) -> Ids:
        """Take one more token for every hypothesis; return the rows (B' * K) that go on, as the next step's `order`.

        Args:
            log_probs: (B' * K, V) of the next token.
            length: tokens that the hypotheses then have.
            last: whether no longer sentence is allowed.
        """
        before, vocabulary = self.scores.shape[1], log_probs.shape[1]
        if 2 * self.num_beams > vocabulary:
            raise ValueError(f"num_beams={self.num_beams}: a vocabulary of {vocabulary} tokens is too small for it")
        total = (log_probs.reshape(-1, before, vocabulary) + self.scores[:, :, None]).reshape(len(self.clips), -1)
        # 2 K, because at most K of them can be an end: K are always left to go on.
        chosen = _largest(total, 2 * self.num_beams)
        clip = np.arange(len(self.clips))[:, None]
        scores = total[clip, chosen]
        parents, tokens = np.divmod(chosen, vocabulary)
        written = np.concatenate([self.written[clip, parents], tokens[:, :, None]], axis=2)
        ended = np.isfinite(scores) & (last | (tokens == self.eos))  # not finite: what a forced token rules out
        # An end counts only among the best K: one that a beam of K would not have kept was never written.
        self._finish(written, scores / np.float32(length**self.length_penalty), ended[:, : self.num_beams])
        if last:
            return np.zeros(0, np.int64)
        running = _largest(np.where(tokens == self.eos, -np.inf, scores), self.num_beams)
        self.scores, self.written = scores[clip, running], written[clip, running]
        rows = parents[clip, running] + before * clip
        going = self._going(length)
        self.clips, self.scores, self.written = self.clips[going], self.scores[going], self.written[going]
        return np.asarray(rows[going].reshape(-1))

    def _finish(self, written: Ids, scores: Floats, ended: NDArray[np.bool_]) -> None:
        """Put what has ended (B', K) among the K best finished of its clip."""
        for row in np.flatnonzero(ended.any(1)):
            found = self.found[self.clips[row]]
            found += [Found(float(scores[row, k]), tuple(written[row, k].tolist())) for k in np.flatnonzero(ended[row])]
            found.sort(key=lambda one: -one.score)  # stable: of equals the one found first
            del found[self.num_beams :]

    def _going(self, length: int) -> NDArray[np.bool_]:
        """Return which clips go on (B',): K are not finished, or the best running one would beat the worst of them.

        What it would score is taken at its present length, as transformers' `early_stopping=False` does. With a length
        penalty above 0 it could still grow; that rule is what was evaluated, so it is the rule here.
        """
        best = self.scores[:, 0] / np.float32(length**self.length_penalty)
        found = [self.found[clip] for clip in self.clips]
        worst = [one[-1].score if len(one) == self.num_beams else -np.inf for one in found]
        return np.asarray(best > np.array(worst, np.float32))


def _greedy(
    step: Step,
    clips: int,
    start: int,
    eos: int,
    pad: int,
    forced_bos: int | None,
    length_penalty: float,
    max_tokens: int,
) -> list[Found]:
    """Take the likeliest token until the end token, for B clips."""
    ids: list[list[int]] = [[] for _ in range(clips)]
    totals = np.zeros(clips)
    running, tokens, order = np.arange(clips), np.full(clips, start, np.int64), np.arange(clips)
    for length in range(1, max_tokens + 1):
        logits = step(tokens, order)
        if length == 1 and forced_bos is not None:
            logits = _forced(logits, forced_bos)
        tokens = logits.argmax(1)
        log_probs = log_softmax(logits)[np.arange(len(tokens)), tokens]
        # The decoder's score leaves pads out wherever they stand, so one that the model wrote itself does not count.
        totals[running] += np.where(tokens == pad, 0, log_probs)
        for clip, token in zip(running, tokens.tolist(), strict=True):
            ids[clip].append(token)
        order = np.flatnonzero(tokens != eos)
        running, tokens = running[order], tokens[order]
        if not len(order):
            break
    lengths = [max(1, sum(token != pad for token in row)) for row in ids]
    return [
        Found(float(total) / length**length_penalty, tuple(row))
        for total, length, row in zip(totals, lengths, ids, strict=True)
    ]


def log_softmax(logits: Floats) -> Floats:
    """Return the log-probabilities of logits (N, V), float32."""
    shifted = logits.astype(np.float32) - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)), np.float32)


def _forced(values: Floats, token: int) -> Floats:
    """Return (N, V) that leave one token possible."""
    out = np.full_like(values, -np.inf)
    out[:, token] = 0
    return out


def _largest(values: Floats, count: int) -> Ids:
    """Return where the `count` largest of each row of (B, n) stand, largest first: (B, count)."""
    places = np.argpartition(values, -count, axis=1)[:, -count:]
    row = np.arange(len(values))[:, None]
    return np.asarray(places[row, np.argsort(-values[row, places], axis=1)])
