"""The keys of every run, their types and what they may be; groups are typed by constructors, settings by rooms."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from hydra.core.config_store import ConfigStore

from slt.evaluation.settings import STOPS, TOKENIZERS, Controls, Drawing
from slt.settings import choice, keys, not_negative, positive, share
from slt.training.settings import Choice, Updates
from slt.training.settings import Profile as Profiled

SPLITS = ("train", "val", "test")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


@keys()
class Wandb:
    """The keys of `board=wandb` by their first name (slt/config/moved.py); null = not given."""

    mode: str | None = choice("disabled", "offline", "online")
    project: str | None
    entity: str | None
    group: str | None
    name: str | None
    tags: list[str] | None
    log_tables: bool | None
    examples: int | None = not_negative()
    log_checkpoints: bool | None


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
    precision: str = choice("auto", *PRECISIONS)
    num_workers: int
    resume: str | None
    board: Any
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
    stream_weight: float = not_negative()
    tell_glosses: bool
    backbone_lr: float | None
    decoder_lr: float | None
    val: str = choice(*SPLITS)
    good_chrf: float | None = positive()
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
    foreign: str | None
    device: str
    precision: str | None = choice(*PRECISIONS)
    batch_size: int | None = positive()
    batch_frames: int | None = positive()
    num_workers: int
    seed: int
    evaluation: Evaluation
    board: Any
    wandb: Wandb


@keys()
class Reading:
    dataset: Any = None
    streams: Any = None  # a dataset refers to these and to the seed
    seed: int | None = None


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
    checkpoint: str | None
    out: str
    push: str | None
    private: bool
    scores: str | None
    licence: str | None
    name: str | None
    precision: str = choice("fp32", "fp16", "int8")
    program: bool
    dataset: Corpus
    other_extractor: bool
    trust: list[str]
    seed: int
    search: ExportSearch
    parity: Parity
    board: Any
    wandb: Wandb


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
    board: Any
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


@keys(Drawing)
class Rate:
    systems: dict[str, str]
    films: str | None
    heading: str
    read: str | None
    key: str | None
    inattentive: str = choice("leave_out", "keep")
    bootstrap: int = positive()


@keys()
class Adapt:
    checkpoint: str
    signer: str
    split: str = choice(*SPLITS)
    clips: int = positive()
    held_out: float = share()
    replay: bool
    dataset: Corpus
    trust: list[str]
    rank: int = positive()
    alpha: int = positive()
    optimizer: Any
    schedule: Any
    label_smoothing: float = share()
    max_steps: int = positive()
    eval_every: int = positive()
    batch_size: int = positive()
    seed: int
    device: str
    deterministic: bool
    precision: str | None = choice(*PRECISIONS)
    num_workers: int
    evaluation: Evaluation
    board: Any
    wandb: Wandb


for command in (Train, Eval, Export, Pretrain, Check, Board, Score, Rate, Adapt):
    ConfigStore.instance().store(name=f"{command.__name__.lower()}_schema", node=command)
