"""MediaPipe's graphs at work: opened when they are first used, quiet, each with a clock that only goes forward."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from slt.extraction.geometry import Picture
from slt.files import needing

# What the graphs' results hold where something is found.
FINDINGS = ("pose_landmarks", "hand_landmarks", "face_landmarks", "detections")


class Task(NamedTuple):
    """A graph: its class in MediaPipe, its model, "IMAGE" (single pictures) or "VIDEO" (goes on from each)."""

    name: str
    model: str
    mode: str
    options: Mapping[str, Any]


class Tasks:
    """The graphs of a landmarker by name; `folder` holds their models."""

    def __init__(self, tasks: Mapping[str, Task], folder: Path) -> None:
        self._vision, self._mediapipe = import_mediapipe()
        # Landmarks of the same pictures were alike to the bit over MediaPipe 1.1.1 to 1.2.3: the models make them.
        self.version = f"mediapipe {self._mediapipe.__version__.split('.')[0]}"
        self._tasks, self._folder = tasks, folder
        self._open: dict[str, Any] = {}
        self._spoken: set[str] = set()
        self._clocks = dict.fromkeys(tasks, 0)

    def open(self, name: str) -> Any:
        if name not in self._open:
            task = self._tasks[name]
            base = self._mediapipe.tasks.BaseOptions(model_asset_path=str(self._folder / task.model))
            mode, options_class = self._vision.RunningMode[task.mode], getattr(self._vision, f"{task.name}Options")
            with quiet:
                self._open[name] = getattr(self._vision, task.name).create_from_options(
                    options_class(base_options=base, running_mode=mode, **task.options)
                )
        return self._open[name]

    def close(self, *names: str) -> None:
        """Free graphs, all without a name; they open again at the next use."""
        for name in names or [*self._open]:
            if name in self._open:
                with quiet:
                    self._open.pop(name).close()

    def detect(self, name: str, picture: Picture) -> Any:
        return self._run(self.open(name).detect, name, picture)

    def track(self, name: str, time: int, picture: Picture) -> Any:
        """Give a graph that follows over time its next picture, at `time` ms or the next that is free."""
        self._clocks[name] = max(time, self._clocks[name]) + 1
        return self._run(self.open(name).detect_for_video, name, picture, self._clocks[name])

    def _run(self, call: Callable[..., Any], name: str, picture: Picture, *time: int) -> Any:
        """Run a graph; until it has found something, in silence: each part of it speaks when it first does its work."""
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
        with nullcontext() if name in self._spoken else quiet:
            result = call(image, *time)
        if any(getattr(result, kind, None) for kind in FINDINGS):
            self._spoken.add(name)
        return result


class _Quiet:
    """Keeps what MediaPipe's C++ says off standard error; its faults are Python exceptions, and it has no setting.

    Standard error is the process's: with several threads inside, the first turns it off and the last on again.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._kept = Lock(), 0, -1

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                sys.stderr.flush()
                self._kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, 2)
                os.close(nothing)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                os.dup2(self._kept, 2)
                os.close(self._kept)


quiet = _Quiet()


def import_mediapipe() -> tuple[Any, Any]:
    """Return mediapipe's tasks of vision, and mediapipe."""
    with needing("finding landmarks needs MediaPipe", extra="media"):
        import mediapipe
        from mediapipe.tasks.python import vision
    return vision, mediapipe
