"""The keys of every run, their types and what they may be; groups are typed by constructors, settings by rooms."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from hydra.core.config_store import ConfigStore

from slt.evaluation.settings import STOPS, TOKENIZERS, Controls
from slt.settings import choice, keys, not_negative, positive
from slt.training.dashboard import Board as Told
from slt.training.settings import Choice, Updates
from slt.training.settings import Profile as Profiled

SPLITS = ("train", "val", "test")


@keys(Told)
class Wandb: ...


@keys(Profiled)
class Profile: ...


@keys(Controls)
class Evaluation:
    num_beams: int = positive()
    length_penalty: float
    nbest: int = positive()


@keys()
class Study:
    """What a recipe asks, and what its table in the lab notebook shows (slt/sweeps/notebook.py)."""

    question: str
    metrics: list[str]
    baseline: str | None = None
    rows: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)


@keys(Updates)
class Loop:
    """What training and pretraining share; groups are `Any`: their constructors are their schema."""

    dataset: Any
    backbone: Any
    optimizer: Any
    schedule: Any
    seed: int | None
    deterministic: bool
    device: str
    devices: int = positive()
    precision: str = choice("fp32", "tf32", "bf16", "fp16")
    num_workers: int
    resume: str | None
    wandb: Wandb
    profile: Profile
    debug: Any = None


@keys(Choice)
class Train(Loop):
    streams: dict[str, Any]
    tied: dict[str, str | None]
    projector: Any
    fusion: Any
    temporal: Any
    decoder: Any
    objective: Any
    embed_dim: int = positive()
    compile: bool
    batch_size: int | None = positive()
    batch_frames: int | None = positive()
    length_multiple: int = positive()
    label_smoothing: float
    gloss_weight: float
    flat_start: int
    backbone_lr: float | None
    decoder_lr: float | None
    val: str = choice(*SPLITS)
    final: str | None = choice(*SPLITS)
    evaluation: Evaluation
    study: Study | None = None


@keys()
class Corpus:
    root: str | None


@keys()
class Dropped:
    drop: list[str]


@keys()
class Eval:
    checkpoint: str
    split: str = choice(*SPLITS)
    dataset: Corpus
    other_extractor: bool
    trust: list[str]
    streams: Dropped
    device: str
    precision: str | None = choice("fp32", "tf32", "bf16", "fp16")
    batch_size: int | None = positive()
    batch_frames: int | None = positive()
    num_workers: int
    seed: int
    evaluation: Evaluation
    wandb: Wandb


@keys()
class Reading:
    dataset: Any = None
    streams: Any = None  # a dataset refers to these and to the seed
    seed: int | None = None


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
    points: str = choice("body", "body_hands")
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
    wandb: Wandb


@keys()
class ExportSearch:
    """Null = as the run was evaluated."""

    num_beams: int | None = positive()
    length_penalty: float | None
    max_tokens: int | None = positive()


@keys()
class Parity:
    batches: int = positive()
    split: str | None = choice(*SPLITS)
    limit: int | None = positive()


@keys()
class Export:
    checkpoint: str
    out: str
    name: str | None
    precision: str = choice("fp32", "fp16", "int8")
    program: bool
    dataset: Corpus
    other_extractor: bool
    trust: list[str]
    seed: int
    search: ExportSearch
    parity: Parity
    wandb: Wandb


@keys()
class DemoSearch(ExportSearch):
    """Null = as the model was exported."""

    nbest: int | None = positive()


@keys()
class Segment:
    raised: float
    moving: float
    staying: float
    window: float
    start_seconds: float
    lowered_seconds: float
    still_seconds: float
    margin: float
    min_seconds: float
    max_seconds: float


@keys()
class Web:
    host: str
    port: int = positive()
    max_mb: int = positive()
    max_seconds: float = positive()


@keys()
class Demo:
    model: str
    source: str | None
    out: str | None
    ui: str = choice("screen", "web")
    live: bool
    encoder: str = choice("onnx", "ts")
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
    draw: bool
    partial_seconds: float = not_negative()
    queue: int = positive()
    headless: bool
    panel: bool
    record: str | None
    signer: str = choice("auto", "largest", "box")
    box: list[float] | None
    web: Web
    landmarker: Any
    extractor: Any


@keys()
class Probe:
    enabled: bool
    dataset: Any
    examples: int = positive()
    questions: int = positive()
    split: str = choice(*SPLITS)
    k: int = positive()
    temperature: float
    penalty: float


@keys()
class Pretrain(Loop):
    objective: Any
    augment: Any
    stream: str = choice("face", "left_hand", "right_hand", "hands")
    corpora: list[str]
    splits: list[str]
    seconds: float = not_negative()
    drift: float = not_negative()
    fps: float = positive()
    adapters: Any = None
    probe: Probe
    batch_size: int = positive()
    clips: int | None
    weight_decay_end: float | None


@keys()
class Drawn:
    out: str | None
    by: str = choice("signer", "film", "sentence", "date", "clip")
    train: float
    val: float
    test: float
    seed: int


@keys()
class Check(Reading):
    split: Drawn


@keys()
class Board:
    title: str
    wandb: Wandb


@keys()
class Rules:
    """Null = as the dataset says, without one as by default (slt.evaluation.settings.Conventions)."""

    tokenize: str | None = choice(*TOKENIZERS)
    lowercase: bool | None
    final_stop: str | None = choice(*STOPS)
    characters: bool | None


@keys()
class Score(Reading):
    hypotheses: str
    references: str
    baseline: str | None
    scoring: Rules
    sentence_scores: dict[str, str]
    bootstrap: int = not_negative()


for command in (Train, Eval, Export, Pretrain, Extract, Demo, Check, Board, Score):
    ConfigStore.instance().store(name=f"{command.__name__.lower()}_schema", node=command)
