"""The types of the keys that every run has; groups are typed by the constructors that they name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Evaluation:
    """Keys of `evaluation`: how sentences are searched for and what is reported of them."""

    num_beams: int = MISSING
    length_penalty: float = MISSING
    nbest: int = MISSING
    bootstrap: int = MISSING
    gloss_beam: int | None = MISSING
    blanked: bool = MISSING
    shuffled: bool = MISSING
    frozen: bool = MISSING
    neighbour: int | None = MISSING
    report_strips: int = MISSING


@dataclass
class Wandb:
    """Keys of `wandb`."""

    mode: str = MISSING
    project: str = MISSING
    entity: str | None = MISSING
    group: str | None = MISSING
    name: str | None = MISSING
    tags: list[str] = MISSING
    log_tables: bool = MISSING
    examples: int = MISSING
    log_checkpoints: bool = MISSING


@dataclass
class Profile:
    """Keys of `profile`: how many updates pass, and how many are recorded after them."""

    warmup: int = MISSING
    steps: int = MISSING


@dataclass
class Study:
    """Keys of `study`: what a recipe asks, and what its table in the lab notebook shows (slt/sweeps/notebook.py)."""

    question: str = MISSING
    metrics: list[str] = MISSING
    baseline: str | None = None
    rows: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)


@dataclass
class Loop:
    """The fixed keys that training and pretraining share; groups are `Any`: their constructors are their schema."""

    dataset: Any = MISSING
    backbone: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    seed: int | None = MISSING
    deterministic: bool = MISSING
    device: str = MISSING
    devices: int = MISSING
    strategy: str = MISSING
    precision: str = MISSING
    num_workers: int = MISSING
    max_steps: int = MISSING
    accumulate: int = MISSING
    grad_clip: float | None = MISSING
    log_every: int = MISSING
    eval_every: int = MISSING
    resume: str | None = MISSING
    wandb: Wandb = field(default_factory=Wandb)
    profile: Profile = field(default_factory=Profile)
    debug: Any = None


@dataclass
class Train(Loop):
    """The fixed keys of `conf/train.yaml`."""

    streams: dict[str, Any] = field(default_factory=dict)
    tied: dict[str, str | None] = field(default_factory=dict)
    projector: Any = MISSING
    fusion: Any = MISSING
    temporal: Any = MISSING
    decoder: Any = MISSING
    embed_dim: int = MISSING
    compile: bool = MISSING
    batch_size: int | None = MISSING
    batch_frames: int | None = MISSING
    label_smoothing: float = MISSING
    gloss_weight: float = MISSING
    flat_start: int = MISSING
    backbone_lr: float | None = MISSING
    decoder_lr: float | None = MISSING
    select: str = MISSING
    patience: int | None = MISSING
    val: str = MISSING
    final: str | None = MISSING
    evaluation: Evaluation = field(default_factory=Evaluation)
    study: Study | None = None


@dataclass
class Corpus:
    """Keys of `dataset` in `conf/eval.yaml`."""

    root: str | None = MISSING


@dataclass
class Dropped:
    """Keys of `streams` in `conf/eval.yaml`."""

    drop: list[str] = MISSING


@dataclass
class Evaluate:
    """The fixed keys of `conf/eval.yaml`."""

    checkpoint: str = MISSING
    split: str = MISSING
    dataset: Corpus = field(default_factory=Corpus)
    other_extractor: bool = MISSING
    trust: list[str] = MISSING
    streams: Dropped = field(default_factory=Dropped)
    device: str = MISSING
    precision: str | None = MISSING
    batch_size: int | None = MISSING
    batch_frames: int | None = MISSING
    num_workers: int = MISSING
    seed: int = MISSING
    evaluation: Evaluation = field(default_factory=Evaluation)
    wandb: Wandb = field(default_factory=Wandb)


@dataclass
class Captions:
    """Keys of `captions`."""

    path: str | None = MISSING
    format: str = MISSING
    unquoted: bool = MISSING
    min_seconds: float = MISSING
    language: str | None = MISSING
    strip: dict[str, str | None] | None = MISSING


@dataclass
class Split:
    """Keys of `split` in extraction: how clips are dealt to the three index files."""

    by: str = MISSING
    train: float = MISSING
    val: float = MISSING
    test: float = MISSING
    seed: int = MISSING
    nobody: bool = MISSING


@dataclass
class OpenPose:
    """Keys of `openpose` in `conf/extract.yaml`."""

    size: list[int] | None = MISSING
    fps: float | None = MISSING


@dataclass
class Extract:
    """The fixed keys of `conf/extract.yaml`."""

    source: str | None = MISSING
    kind: str = MISSING
    out: str | None = MISSING
    check: str | None = MISSING
    captions: Captions = field(default_factory=Captions)
    fps: float | None = MISSING
    max_fps: float = MISSING
    pictures_fps: float = MISSING
    mirrored: bool = MISSING
    max_failures: int = MISSING
    workers: int = MISSING
    shard: str | None = MISSING
    packed: bool = MISSING
    encoding: str = MISSING
    quality: int = MISSING
    folders: dict[str, str] = field(default_factory=dict)
    points: str = MISSING
    pose_format: bool = MISSING
    report: bool = MISSING
    report_worst: int = MISSING
    split: Split = field(default_factory=Split)
    signer: str = MISSING
    boxes: str | None = MISSING
    openpose: OpenPose = field(default_factory=OpenPose)
    min_seen: float = MISSING
    landmarker: Any = MISSING
    extractor: Any = MISSING
    wandb: Wandb = field(default_factory=Wandb)


@dataclass
class ExportSearch:
    """Keys of `search` in `conf/export.yaml`."""

    num_beams: int | None = MISSING
    length_penalty: float | None = MISSING
    max_tokens: int | None = MISSING


@dataclass
class ExportParity:
    """Keys of `parity`: what an exported folder is held against the checkpoint on."""

    batches: int = MISSING
    split: str | None = MISSING
    limit: int | None = MISSING


@dataclass
class Export:
    """The fixed keys of `conf/export.yaml`."""

    checkpoint: str = MISSING
    out: str = MISSING
    name: str | None = MISSING
    precision: str = MISSING
    program: bool = MISSING
    dataset: Corpus = field(default_factory=Corpus)
    other_extractor: bool = MISSING
    trust: list[str] = MISSING
    seed: int = MISSING
    search: ExportSearch = field(default_factory=ExportSearch)
    parity: ExportParity = field(default_factory=ExportParity)
    wandb: Wandb = field(default_factory=Wandb)


@dataclass
class DemoSearch:
    """Keys of `search` in `conf/demo.yaml`."""

    num_beams: int | None = MISSING
    length_penalty: float | None = MISSING
    max_tokens: int | None = MISSING
    nbest: int | None = MISSING


@dataclass
class DemoSegment:
    """Keys of `segment`: where a sentence begins and ends."""

    raised: float = MISSING
    moving: float = MISSING
    staying: float = MISSING
    window: float = MISSING
    start_seconds: float = MISSING
    lowered_seconds: float = MISSING
    still_seconds: float = MISSING
    margin: float = MISSING
    min_seconds: float = MISSING
    max_seconds: float = MISSING


@dataclass
class DemoWeb:
    """Keys of `web`."""

    host: str = MISSING
    port: int = MISSING
    max_mb: int = MISSING
    max_seconds: float = MISSING


@dataclass
class Demo:
    """The fixed keys of `conf/demo.yaml`."""

    model: str = MISSING
    source: str | None = MISSING
    out: str | None = MISSING
    ui: str = MISSING
    live: bool = MISSING
    encoder: str = MISSING
    tokenizer: str | None = MISSING
    device: str = MISSING
    threads: int | None = MISSING
    other_extractor: bool = MISSING
    trust: list[str] = MISSING
    search: DemoSearch = field(default_factory=DemoSearch)
    fps: float | None = MISSING
    max_fps: float = MISSING
    segments: str | None = MISSING
    whole_seconds: float = MISSING
    segment: DemoSegment = field(default_factory=DemoSegment)
    draw: bool = MISSING
    partial_seconds: float = MISSING
    queue: int = MISSING
    headless: bool = MISSING
    panel: bool = MISSING
    record: str | None = MISSING
    signer: str = MISSING
    box: list[float] | None = MISSING
    web: DemoWeb = field(default_factory=DemoWeb)
    landmarker: Any = MISSING
    extractor: Any = MISSING


@dataclass
class ProbeKeys:
    """Keys of `probe` in `conf/pretrain.yaml`."""

    enabled: bool = MISSING
    dataset: Any = MISSING
    examples: int = MISSING
    questions: int = MISSING
    split: str = MISSING
    k: int = MISSING
    temperature: float = MISSING
    penalty: float = MISSING


@dataclass
class Pretrain(Loop):
    """The fixed keys of `conf/pretrain.yaml`."""

    objective: Any = MISSING
    augment: Any = MISSING
    stream: str = MISSING
    corpora: list[str] = MISSING
    splits: list[str] = MISSING
    seconds: float = MISSING
    drift: float = MISSING
    fps: float = MISSING
    adapters: Any = None
    probe: ProbeKeys = field(default_factory=ProbeKeys)
    batch_size: int = MISSING
    clips: int | None = MISSING
    weight_decay_end: float | None = MISSING


@dataclass
class Board:
    """The fixed keys of `conf/board.yaml`."""

    title: str = MISSING
    wandb: Wandb = field(default_factory=Wandb)


ConfigStore.instance().store(name="board_schema", node=Board)
ConfigStore.instance().store(name="pretrain_schema", node=Pretrain)
ConfigStore.instance().store(name="demo_schema", node=Demo)
ConfigStore.instance().store(name="export_schema", node=Export)
ConfigStore.instance().store(name="extract_schema", node=Extract)
ConfigStore.instance().store(name="train_schema", node=Train)
ConfigStore.instance().store(name="eval_schema", node=Evaluate)
