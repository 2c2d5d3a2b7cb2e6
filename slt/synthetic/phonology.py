"""What the invented signs are made of (handshape, place, movement, orientation, hands, mouth) and what shows of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

# The order of each tuple is that of the label codes in labels/<id>.json.
HANDSHAPES = (
    "fist", "flat", "spread", "index", "vee", "three", "ell", "wye", "horns", "thumb", "claw", "ring", "rest",
)  # fmt: skip
LOCATIONS = ("forehead", "chin", "ear", "shoulder", "chest", "waist", "side")
MOVEMENTS = ("down", "up", "out", "circle", "shake", "hold")
ORIENTATIONS = ("up_palm", "up_back", "tilt_palm", "side_back")
MOUTHS = ("closed", "o", "a", "smile", "down", "puff")
BROWS = ("neutral", "raised", "furrowed")


@dataclass(frozen=True)
class Sign:
    """One sign of the lexicon; `form` says what can be seen of it."""

    gloss: str  # its name, unique
    kind: str  # its word class, which says what the grammar may do with it
    word: str  # the Spanish word in its dictionary form (a verb may carry its stressed stem: "encontrar/encuentr")
    # What Spanish must know of it: gender of a noun ("m", "f"), tense of a time ("past", "present", "future"), person
    # of a pronoun ("1s", "2s", "3s", "1p", "3p"), "comma" of a link that wants one; "" for a word without.
    trait: str
    handshape: str
    location: str
    movement: str
    orientation: str
    hands: int  # 2 for a sign in which the other hand mirrors the first
    mouth: str  # the mouthing that is part of the sign ("closed": none)


@dataclass(frozen=True)
class Grid:
    """A word class laid out so that no stream alone can tell its words apart.

    Every handshape stands at every place, one word a cell: a pose leaves open which handshape, a hand crop leaves open
    which place. A cell may hold a mouthing pair "hijo:m|hija:f" (mouths "o" and "a"), which only the face keeps apart.
    """

    kind: str
    words: str  # "word:trait, word:trait|word:trait, ...", place by place
    handshapes: tuple[str, ...]
    places: str  # "location/movement location/movement ..."
    orientation: str  # like hands, the same for the whole class, since both hand crop and pose show them
    hands: int

    def signs(self) -> Iterator[Sign]:
        places = [place.split("/") for place in self.places.split()]
        entries = self.words.split(", ")
        assert len(entries) <= len(places) * len(self.handshapes), f"{self.kind}: {len(entries)} words are too many"
        for (place, handshape), entry in zip(itertools.product(places, self.handshapes), entries, strict=False):
            pair = entry.split("|")
            for word, mouth in zip(pair, ("closed",) if len(pair) == 1 else ("o", "a"), strict=True):
                text, _, trait = word.partition(":")
                gloss = text.split("/")[0].replace(" ", "-").upper()
                yield Sign(
                    gloss, self.kind, text, trait, handshape, place[0], place[1], self.orientation, self.hands, mouth
                )


def form(sign: Sign) -> tuple[str, ...]:
    """Return all that can be seen of a sign."""
    return (sign.handshape, sign.location, sign.movement, sign.orientation, str(sign.hands), sign.mouth)
