"""What of a sign can be seen when streams are taken away."""

from __future__ import annotations

from slt.synthetic.phonology import Sign, form


def form_without(sign: Sign, *streams: str) -> tuple[str, ...]:
    """Return what can be seen of a sign when streams are taken away; equal forms cannot be kept apart.

    Args:
        streams: "hands" (no handshape), "pose" (no location and movement), "face" (no mouth).
    """
    hidden = {place for stream in streams for place in {"hands": (0,), "pose": (1, 2), "face": (5,)}[stream]}
    return tuple(part for place, part in enumerate(form(sign)) if place not in hidden)
