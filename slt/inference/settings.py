"""How continuous signing is cut: plain values, without torch, which the configuration knows too."""

from __future__ import annotations

from dataclasses import dataclass

from slt.settings import check_values, not_negative, positive, share


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """How continuous signing is cut into sentences: `segment` of `conf/demo.yaml`, in shoulder widths and seconds."""

    raised: float = not_negative()
    moving: float = positive()
    staying: float = share()
    window: float = positive()
    start_seconds: float = not_negative()
    lowered_seconds: float = not_negative()
    still_seconds: float = not_negative()
    margin: float = not_negative()
    min_seconds: float = not_negative()
    max_seconds: float = positive()

    def __post_init__(self) -> None:
        check_values(self, "segment")
        if self.margin > min(self.lowered_seconds, self.still_seconds):
            raise ValueError(
                f"segment.margin={self.margin} is above lowered_seconds={self.lowered_seconds} or still_seconds="
                f"{self.still_seconds}: a segment cannot end after it is known to have ended"
            )
        if self.max_seconds < 2 * (self.min_seconds + self.start_seconds):
            raise ValueError(
                f"segment.max_seconds={self.max_seconds}: expected at least twice min_seconds and start_seconds "
                f"together, {2 * (self.min_seconds + self.start_seconds):g}"
            )
