"""The keys of what reads films, `slt.extract`, `slt.demo`, `slt.start`, and what they may be; see commands.py."""

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
    format: str = choice("auto", "subs", "cuts", "lsa_t", "subtitles", "srt", "vtt", "elan", "none")
    unquoted: bool
    min_seconds: float = not_negative()
    language: str | None
    tier: str | None
    gloss_tier: str | None
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
class Posed(Reading):
    """Whole films as poses."""

    root: str | None
    captions: str | None
    tier: str | None
    segment: Segment


@keys()
class Segmenting(Posed):
    films: Any
    network: Any
    fps: float = positive()
    begin: float = share()
    end: float = share()
    split: float = share()
    max_steps: int = positive()
    batch_size: int = positive()
    seconds: float = positive()
    lr: float = positive()
    noise: float = not_negative()


@keys()
class Align(Posed):
    out: str
    segmenter: str | None
    search_seconds: float = positive()
    reach_seconds: float = positive()
    most_segments: int = positive()
    most_captions: int = positive()
    lost: float = positive()
    idle: float = not_negative()


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
    segments: str | None = choice("whole", "auto", "learned")
    segmenter: str | None
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


@keys()
class Start:
    source: str
    out: str | None
    dry: bool
    open: bool
    captions: str = choice("auto", "subs", "cuts", "lsa_t", "subtitles", "srt", "vtt", "elan")
    tier: str | None
    by: str = choice("auto", "film", "signer")
    seed: int
    pretrained: str | None
    weights: str | None
    extract: dict[str, Any]
    train: dict[str, Any]
    eval: dict[str, Any]
    export: dict[str, Any]
    least_films: int = positive()
    signers: int = positive()
    held_out: list[float]
    few: int = not_negative()
    positions: int = positive()
    sizes: dict[str, Any]
    published: Any
    by_heart: Any


COMMANDS = {"extract": Extract, "demo": Demo, "segment": Segmenting, "align": Align, "start": Start}
for name, command in COMMANDS.items():
    ConfigStore.instance().store(name=f"{name}_schema", node=command)
