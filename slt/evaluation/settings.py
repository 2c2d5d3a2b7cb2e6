"""What is found out of a model beside its sentences: plain values, without torch, which the configuration knows too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slt.settings import positive


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What is scored and shown beside the sentences, as `evaluation` in conf/ explains."""

    bootstrap: int
    gloss_beam: int | None = positive()  # width of the prefix beam search; None = the best path alone
    blanked: bool
    shuffled: bool
    frozen: bool
    neighbour: int | None = positive()  # training clips looked at for the floor; None = no such floor
    report_strips: int


@dataclass(frozen=True, kw_only=True)
class Scoring(Controls):
    """The controls, the seed of the resamples, and the streams that are taken as not seen throughout."""

    seed: int
    drop: Sequence[str] = ()
