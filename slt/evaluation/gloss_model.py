"""What glosses follow which: the n-gram that the prefix beam search asks beside the gloss head. G classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

START = -1  # stands before the first gloss
END = 0  # after the last one: the place of CTC's blank, which no language has

Row = npt.NDArray[np.float64]


class GlossModel:
    """An n-gram of gloss classes, each order interpolated with the one below (Witten and Bell 1991).

    What n - 1 classes were followed by counts as often as it came, and the order below weighs as much as there were
    different followers. Below the unigram all classes are alike, so that nothing is impossible. `nltk.lm` has the same
    estimate, one word a call through Python's recursion; a beam wants all G classes at once, after every prefix.

    Args:
        sentences: gloss classes, 1 to G - 1, of the training clips.
        num_classes: G, with the blank, whose place the end of a sentence takes.
        order: n; 1 = how frequent a gloss is, whatever stands before it.
    """

    def __init__(self, sentences: Iterable[Sequence[int]], *, num_classes: int, order: int) -> None:
        self.num_classes, self.order = num_classes, order
        self.followers: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for classes in sentences:
            line = [*[START] * (order - 1), *classes, END]
            for place in range(order - 1, len(line)):
                for known in range(order):
                    self.followers[tuple(line[place - known : place])][line[place]] += 1
        self.rows: dict[tuple[int, ...], Row] = {}

    def __call__(self, prefix: Sequence[int]) -> Row:
        """Log probabilities (G,) of what follows a prefix: `END` at place 0, each gloss at its own."""
        before = (*[START] * (self.order - 1), *prefix[max(0, len(prefix) - self.order + 1) :])
        context = before[len(before) - self.order + 1 :]
        if context not in self.rows:
            self.rows[context] = np.log(self._estimated(context))
        return self.rows[context]

    def _estimated(self, context: tuple[int, ...]) -> Row:
        found = np.full(self.num_classes, 1 / self.num_classes)
        for known in range(self.order):
            followers = self.followers.get(context[len(context) - known :])
            if followers is None:  # nor does any longer context stand in train
                break
            kinds, total = len(followers), followers.total()
            found *= kinds / (total + kinds)
            found[[*followers]] += np.array([*followers.values()]) / (total + kinds)
        return found
