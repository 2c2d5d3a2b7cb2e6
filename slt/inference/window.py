"""The window of a live translation; where there is no display the translation goes on without one."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

TITLE = "slt"
QUIT, PANEL = (27, ord("q")), ord("p")
# Qt ends the whole process where a display is named but cannot be reached, so another process tries first.
_TRIAL = "import cv2; cv2.namedWindow('slt'); cv2.waitKey(1); cv2.destroyAllWindows()"


class Window:
    """A `Screen`: q or Esc ends, p shows and hides the panel."""

    def __init__(self, *, panel: bool) -> None:
        self.panel = panel
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        self._sized = False

    def show(self, picture: NDArray[np.uint8]) -> bool:
        """Show an RGB picture (H, W, 3); return whether to go on."""
        if not self._sized:
            cv2.resizeWindow(TITLE, picture.shape[1], picture.shape[0])
            self._sized = True
        cv2.imshow(TITLE, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        if key == PANEL:
            self.panel = not self.panel
        # A window closed by the mouse is not visible any more.
        return key not in QUIT and cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        cv2.destroyWindow(TITLE)


def why_no_window() -> str | None:
    """Return why no window can be opened here; None where one can."""
    built = [line for line in cv2.getBuildInformation().split("\n") if line.strip().startswith("GUI:")]
    if not any("NONE" not in line for line in built):
        return "this OpenCV was built without windows (opencv-python-headless); pip install opencv-python has them"
    tried = subprocess.run([sys.executable, "-c", _TRIAL], capture_output=True, timeout=60, check=False)
    return None if tried.returncode == 0 else "there is no display here"
