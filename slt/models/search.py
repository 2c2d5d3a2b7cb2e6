"""Greedy and beam search, one for validation, evaluation, export and live: a decoder's likeliest tokens, step by step.

The rules are those of transformers 5 (`generate`), which published models were evaluated with. Shape letters: B clips,
K beams, N rows (the hypotheses of all clips, one behind the other), C candidates a row, L tokens written so far,
V vocabulary.
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
        """Return this search with the values that are given and not None."""
        return replace(self, **{key: value for key, value in given.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Ids that the search needs.

    `forced_bos` is the first token of a multilingual model's sentences, one for all or one a clip (B,), or None.
    """

    start: int
    eos: int
    pad: int
    forced_bos: int | Ids | None


class Found(NamedTuple):
    """A finished sentence: its tokens without the start token, with the end token where it has one, and its score.

    The score is the sum of the log-probabilities over the number of tokens to the power of the length penalty.
    """

    score: float
    ids: tuple[int, ...]
    log_probs: tuple[float, ...]  # of each token


class Step(Protocol):
    """The decoder, asked for one more token of every hypothesis."""

    def __call__(self, tokens: Ids, order: Ids, count: int) -> tuple[Floats, Ids]:
        """Return log-probabilities and ids of the `count` likeliest tokens of each row, best first, (N, C) each.

        Args:
            tokens: (N,) the last token of each hypothesis, not yet in the decoder's cache.
            order: (N,) which row of the step before each hypothesis continues; clips keep their order, finished ones
                have no row any more. At the first step there is one row a clip, and this is 0, 1, ... B - 1.
            count: C, less only where the vocabulary is smaller.
        """


def search(step: Step, clips: int, tokens: Tokens, options: Search) -> list[list[Found]]:
    """Search the sentences of `clips` clips, greedily with one beam; each clip's best first.

    There are `nbest` of each (fewer only where a forced first token leaves no choice); what has not ended after
    `max_tokens` is cut there.
    """
    if options.num_beams == 1:
        return [[one] for one in _greedy(step, clips, tokens, options)]
    beams = _Beams(clips, tokens.eos, options)
    last, order = np.full(clips, tokens.start, np.int64), np.arange(clips)
    for length in range(1, options.max_tokens + 1):
        # 2 K, because at most K of them can be an end: K are always left to go on.
        log_probs, ids = step(last, order, 2 * options.num_beams)
        if length == 1 and tokens.forced_bos is not None:
            log_probs, ids = _forced(log_probs, ids, tokens.forced_bos)
        order = beams.extend(log_probs, ids, length)
        if not len(order):
            break
        last = beams.written[:, :, -1].reshape(-1)
    return [found[: options.nbest] for found in beams.found]


class _Beams:
    """The running and the finished hypotheses of every clip.

    Attributes:
        written: (B', K, L) the tokens of the running ones, best first, of the B' clips that are not done.
        log_probs: (B', K, L) of each of their tokens.
        scores: (B', K) their summed log-probabilities.
        found: for each of all B clips its finished ones, best first, at most K.
    """

    def __init__(self, clips: int, eos: int, options: Search) -> None:
        self.eos, self.options = eos, options
        self.found: list[list[Found]] = [[] for _ in range(clips)]
        self.clips = np.arange(clips)  # (B',) which are not done
        self.written = np.zeros((clips, 1, 0), np.int64)  # one row a clip at first: K alike would be K times the same
        self.log_probs = np.zeros((clips, 1, 0), np.float32)
        self.scores = np.zeros((clips, 1), np.float32)

    def extend(self, log_probs: Floats, ids: Ids, length: int) -> Ids:
        """Take a token for every hypothesis, (B' * K, C) candidates; return the rows (B' * K) that go on, as `order`.

        `length` is how many tokens the hypotheses then have.
        """
        beams, before, candidates = self.options.num_beams, self.scores.shape[1], ids.shape[1]
        if candidates < 2 * beams:
            raise ValueError(f"num_beams={beams}: a vocabulary of {candidates} tokens is too small for it")
        total = (log_probs.reshape(-1, before, candidates) + self.scores[:, :, None]).reshape(len(self.clips), -1)
        chosen = _largest(total, 2 * beams)
        clip = np.arange(len(self.clips))[:, None]
        scores, tokens = total[clip, chosen], ids.reshape(len(self.clips), -1)[clip, chosen]
        parents = chosen // candidates
        written = np.concatenate([self.written[clip, parents], tokens[:, :, None]], axis=2)
        each = log_probs.reshape(len(self.clips), -1)[clip, chosen]
        each = np.concatenate([self.log_probs[clip, parents], each[:, :, None]], axis=2)
        last = length == self.options.max_tokens
        ended = np.isfinite(scores) & (last | (tokens == self.eos))  # not finite: what a forced token rules out
        # An end counts only among the best K: one that a beam of K would not have kept was never written.
        self._finish(written, each, self._final(scores, length), ended[:, :beams])
        if last:
            return np.zeros(0, np.int64)
        running = np.argsort(tokens == self.eos, axis=1, kind="stable")[:, :beams]  # scores are sorted already
        self.scores, self.written = scores[clip, running], written[clip, running]
        self.log_probs = each[clip, running]
        rows = parents[clip, running] + before * clip
        going = self._going(length)
        self.clips, self.scores = self.clips[going], self.scores[going]
        self.written, self.log_probs = self.written[going], self.log_probs[going]
        return np.asarray(rows[going].reshape(-1))

    def _final(self, scores: Floats, length: int) -> Floats:
        return np.asarray(scores / np.float32(length**self.options.length_penalty), np.float32)

    def _finish(self, written: Ids, each: Floats, scores: Floats, ended: NDArray[np.bool_]) -> None:
        """Put what has ended (B', K) among the K best finished of its clip; `each` are log-probabilities of tokens."""
        for row in np.flatnonzero(ended.any(1)):
            found = self.found[self.clips[row]]
            found += [
                Found(float(scores[row, k]), tuple(written[row, k].tolist()), tuple(each[row, k].tolist()))
                for k in np.flatnonzero(ended[row])
            ]
            found.sort(key=lambda one: -one.score)  # stable: of equals the one found first
            del found[self.options.num_beams :]

    def _going(self, length: int) -> NDArray[np.bool_]:
        """Return which clips go on (B',): K are not finished, or the best running one would beat the worst of them.

        What it would score is taken at its present length, as transformers' `early_stopping=False` does. With a length
        penalty above 0 it could still grow; that rule is what was evaluated, so it is the rule here.
        """
        found = [self.found[clip] for clip in self.clips]
        worst = [one[-1].score if len(one) == self.options.num_beams else -np.inf for one in found]
        return np.asarray(self._final(self.scores[:, 0], length) > np.array(worst, np.float32))


def _greedy(step: Step, clips: int, tokens: Tokens, options: Search) -> list[Found]:
    """Take the likeliest token until the end token, for B clips."""
    ids: list[list[int]] = [[] for _ in range(clips)]
    each: list[list[float]] = [[] for _ in range(clips)]
    totals = np.zeros(clips)
    running, last, order = np.arange(clips), np.full(clips, tokens.start, np.int64), np.arange(clips)
    for length in range(1, options.max_tokens + 1):
        log_probs, best = step(last, order, 1)
        if length == 1 and tokens.forced_bos is not None:
            log_probs, best = _forced(log_probs, best, tokens.forced_bos)
        last = best[:, 0]
        # transformers' score leaves pads out wherever they stand, so one that the model wrote itself does not count.
        totals[running] += np.where(last == tokens.pad, 0, log_probs[:, 0])
        for clip, token, log_prob in zip(running, last.tolist(), log_probs[:, 0].tolist(), strict=True):
            ids[clip].append(token)
            each[clip].append(log_prob)
        order = np.flatnonzero(last != tokens.eos)
        running, last = running[order], last[order]
        if not len(order):
            break
    lengths = [max(1, sum(token != tokens.pad for token in row)) for row in ids]
    return [
        Found(float(total) / length**options.length_penalty, tuple(row), tuple(own))
        for total, length, row, own in zip(totals, lengths, ids, each, strict=True)
    ]


def likeliest(logits: Floats, count: int) -> tuple[Floats, Ids]:
    """Return log-probabilities and ids of the `count` likeliest tokens by logits (N, V), as `Step` gives them."""
    logits = logits.astype(np.float32, copy=False)
    ids = _largest(logits, min(count, logits.shape[1])) if count > 1 else logits.argmax(1)[:, None]
    best = logits[np.arange(len(ids))[:, None], ids]
    return best - best[:, :1] - np.log(np.exp(logits - best[:, :1]).sum(1, keepdims=True)), ids


def _forced(log_probs: Floats, ids: Ids, token: int | Ids) -> tuple[Floats, Ids]:
    """Return (N, C) that leave one token possible."""
    log_probs, ids = np.full_like(log_probs, -np.inf), np.zeros_like(ids)
    log_probs[:, 0], ids[:, 0] = 0, token
    return log_probs, ids


def _largest(values: Floats, count: int) -> Ids:
    """Return where the `count` largest of each row of (B, n) stand, largest first and of equals the first: (B, count).

    A few are sorted whole; of many those that can be among them are found first.
    """
    if values.shape[1] <= 64:
        return np.asarray(np.argsort(-values, axis=1, kind="stable")[:, :count])
    rows = np.arange(len(values))[:, None]
    places = np.sort(np.argpartition(values, -count, axis=1)[:, -count:], axis=1)
    return np.asarray(places[rows, np.argsort(-values[rows, places], axis=1, kind="stable")])
