"""An ELAN file (.eaf) to its tiers, each annotation with its times; what has none in the file gets those ELAN shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from slt.files import needing


class Span(NamedTuple):
    """An annotation: seconds in its film, and what it says."""

    start: float
    end: float
    value: str
    signer: str


def read_eaf(path: Path) -> dict[tuple[str, str], list[Span]]:
    """Return (tier, participant) -> its annotations; ValueError for a file that is not ELAN's or lacks times.

    Time slots without a value are spread evenly between their neighbours in the tier, and the parts of a symbolic
    subdivision over what they divide, as ELAN shows them.
    """
    with needing(f"reading {path.name} needs pympi-ling", extra="media"):
        import pympi
    try:
        eaf = pympi.Eaf(str(path), suppress_version_warning=True)
    except Exception as error:  # a damaged file fails anywhere
        raise ValueError(f"{path}: not an ELAN file that can be read ({error!r}); save it again") from error
    spans = _Times(path, eaf).spans
    return {
        (name, attributes.get("PARTICIPANT", "")): [
            Span(*spans[each], str(value[2 if each in aligned else 1] or ""), "")
            for each, value in {**aligned, **references}.items()
        ]
        for name, (aligned, references, attributes, _) in eaf.tiers.items()
    }


class _Times:
    """Where the annotations of a file begin and end, in seconds."""

    def __init__(self, path: Path, eaf: Any) -> None:
        self.path, self.eaf = path, eaf
        self.spans: dict[str, tuple[float, float]] = {}
        order = {slot: place for place, slot in enumerate(eaf.timeslots)}
        for name, (aligned, *_) in eaf.tiers.items():
            for slot in (slot for value in aligned.values() for slot in value[:2]):
                if slot not in order:
                    raise ValueError(f"{path}: time slot {slot!r} of tier {name!r} is not there; save it again in ELAN")
            chain = sorted(aligned.items(), key=lambda item: order[item[1][0]])
            slots = [*dict.fromkeys(slot for _, value in chain for slot in value[:2])]
            times = dict(zip(slots, self._spread(name, [eaf.timeslots[slot] for slot in slots]), strict=True))
            self.spans |= {each: (times[value[0]], times[value[1]]) for each, value in chain}
        self._parts()

    def _spread(self, tier: str, values: Sequence[int | None]) -> list[float]:
        known = [place for place, value in enumerate(values) if value is not None]
        if values and (not known or known[0] != 0 or known[-1] != len(values) - 1):
            raise ValueError(
                f"{self.path}: tier {tier!r} has time slots without a value at its end; align them in ELAN"
            )
        out = [float(value or 0) / 1000 for value in values]
        for a, b in pairwise(known):
            for place in range(a + 1, b):
                out[place] = out[a] + (out[b] - out[a]) * (place - a) / (b - a)
        return out

    def _parts(self) -> None:
        """Find the spans of annotations that refer to others: all of it where one does, else equal parts in order."""
        waiting = [references for _, references, *_ in self.eaf.tiers.values() if references]
        while waiting:
            ready = [each for each in waiting if all(value[0] in self.spans for value in each.values())]
            if not ready:
                raise ValueError(f"{self.path}: annotations that refer to none that is there; save it again in ELAN")
            for references in ready:
                groups: dict[str, list[str]] = {}
                for each, value in references.items():
                    groups.setdefault(value[0], []).append(each)
                for parent, parts in groups.items():
                    start, end = self.spans[parent]
                    for n, each in enumerate(_in_order(parts, references)):
                        step = (end - start) / len(parts)
                        self.spans[each] = (start + n * step, start + (n + 1) * step)
            waiting = [each for each in waiting if each not in ready]


def _in_order(parts: Sequence[str], references: dict[str, Any]) -> list[str]:
    """Return the parts of an annotation as each names the one before it."""
    after = {references[each][2]: each for each in parts if references[each][2]}
    order = [each for each in parts if not references[each][2]]
    while order and order[-1] in after:
        order.append(after[order[-1]])
    return order if len(order) == len(parts) else list(parts)
