"""The keys of what reads films, `slt.extract` and `slt.demo`, their types and what they may be; see commands.py."""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigStore

from slt.config.commands import ExportSearch, Reading, Wandb
from slt.inference.settings import Segmentation
from slt.settings import choice, keys, not_negative, positive, share

POINTS = ("body", "body_hands", "holistic", "wholebody")  # of a pose


@keys()
class Captions:
    path: str | None
    format: str = choice("auto", "subs", "cuts", "lsa_t", "subtitles", "srt", "vtt", "none")
    unquoted: bool
    min_seconds: float = not_negative()
    language: str | None
    strip: dict[str, str | None] | None


@keys()
class Split:
    by: str = choice("film", "signer", "random", "all_train")
    train: float
    val: float
    test: float
    seed: int
    nobody: bool


@keys()
class OpenPose:
    size: list[int] | None
    fps: float | None = positive()


@keys()
class Extract(Reading):
    source: str | None
    kind: str = choice("films", "keypoints", "poses")
    out: str | None
    check: str | None
    captions: Captions
    fps: float | None = positive()
    max_fps: float = positive()
    pictures_fps: float = positive()
    mirrored: bool
    max_failures: int = not_negative()
    workers: int = positive()
    shard: str | None
    packed: bool
    encoding: str = choice("raw", "jpeg")
    quality: int
    folders: dict[str, str]
    points: str = choice(*POINTS)
    pose_format: bool
    report: bool
    report_worst: int = not_negative()
    split: Split
    signer: str = choice("auto", "largest", "box")
    boxes: str | None
    openpose: OpenPose
    min_seen: float = not_negative()
    landmarker: Any
    extractor: Any
    board: Any
    wandb: Wandb


@keys()
class DemoSearch(ExportSearch):
    """Null = as the model was exported."""

    nbest: int | None = positive()


@keys(Segmentation)
class Segment: ...


@keys()
class Web:
    host: str
    port: int = positive()
    max_mb: int = positive()
    max_total_mb: int = positive()
    max_seconds: float = positive()
    corrections: str | None


@keys()
class Demo:
    model: str
    source: str | None
    out: str | None
    ui: str = choice("screen", "web")
    live: bool
    encoder: str = choice("onnx", "ts", "torch")
    tokenizer: str | None
    device: str
    threads: int | None = positive()
    other_extractor: bool
    trust: list[str]
    search: DemoSearch
    fps: float | None = positive()
    max_fps: float = positive()
    segments: str | None = choice("whole", "auto")
    whole_seconds: float = not_negative()
    segment: Segment
    abstain: float | None = share()
    draw: bool
    partial_seconds: float = not_negative()
    queue: int = positive()
    headless: bool
    panel: bool
    record: str | None
    points: str = choice(*POINTS)
    signer: str = choice("auto", "largest", "box")
    box: list[float] | None
    web: Web
    landmarker: Any
    extractor: Any


for command in (Extract, Demo):
    ConfigStore.instance().store(name=f"{command.__name__.lower()}_schema", node=command)
