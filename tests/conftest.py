"""What the tests share: a tiny embedded corpus, a tiny translator on it, and a way to run an entry point in-process."""

from __future__ import annotations

import atexit
import importlib
import logging
import multiprocessing
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before any library is imported: no test reaches a network, and two cores are shared with whatever else runs.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "LANGUAGE": "en",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "TOKENIZERS_PARALLELISM": "false",
    "TRACKIO_DIR": tempfile.mkdtemp(),  # which it reads once, when it is imported
}

import pytest
import torch
from absl import logging as absl_logging
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import slt.config.checks  # noqa: F401  its working folder is this one, and not that of the first test, which goes
from slt.synthetic import corpus_folder

torch.set_num_threads(1)
atexit.register(shutil.rmtree, os.environ["TRACKIO_DIR"], ignore_errors=True)
# rouge-score brings absl, whose log handler closes its stream when Hydra sets up logging, unless that stream is the
# process's own: imported while pytest collects, it would close pytest's capture file and end the session.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

CROPS = 32
CORPUS: dict[str, Any] = {
    "size": "default",
    "seed": 3,
    "clips": {"train": 12, "val": 4, "test": 4},
    "signers": {"train": 3, "val": 1, "test": 2},
    "left_handed": 0.2,
    "fps": 8.0,
    "crop_size": CROPS,
    "encoding": "raw",
    "quality": 90,
    "noise": {"jitter": 0.004, "missed": 0.02, "burst": 2.5, "grain": 4.0},
    "workers": 0,
    "progress": False,
}
CONTROLS = ("blanked", "shuffled", "frozen")
# The smallest run of conf/train.yaml: every part real, every width small, everything in this process.
TINY = (
    *(f"dataset.streams.{name}.size={CROPS}" for name in ("face", "left_hand", "right_hand")),
    *(f"streams.{name}.widths=[8,8]" for name in ("face", "left_hand")),  # the right hand shares the left one's
    "streams.pose.num_features=16",
    "embed_dim=16",
    "temporal.depth=1",
    "temporal.num_heads=2",
    "decoder.config={d_model:16,decoder_layers:1,decoder_attention_heads:2,decoder_ffn_dim:32,dropout:0.1}",
    "decoder.tokenizer.vocab_size=150",
    "precision=fp32",
    "device=cpu",
    "num_workers=0",
    "good_chrf=null",  # a confidence is fitted where a test asks for it
    "batch_size=4",
    "max_steps=2",
    "eval_every=2",
    "log_every=1",
    "evaluation.num_beams=2",
    "evaluation.nbest=2",
    "evaluation.bootstrap=20",
    "evaluation.report_strips=1",
    *(f"evaluation.{control}=false" for control in CONTROLS),  # a test of them asks for them
)


# What the suite and wandb put into the environment while a run lasts; other variables are of modules, once imported.
OF_RUNS = ("WANDB", "HYDRA", "MASTER_", "CUBLAS_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole commands first: they take longest, and at the end one process would wait for the other's."""
    items.sort(key=lambda item: len(item.path.parts))


@contextmanager
def _leaving_nothing(folder: Path) -> Iterator[None]:
    """Works in `folder`; whatever a test leaves behind, failing or not, goes no further."""
    place, environment = Path.cwd(), dict(os.environ)
    threads, sure = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    method = multiprocessing.get_start_method(allow_none=True)
    os.chdir(folder)
    try:
        with _kept_logging():
            yield
    finally:
        _end_wandb()
        os.chdir(place)
        for name in [name for name in os.environ if name.startswith(OF_RUNS) and name not in environment]:
            del os.environ[name]
        os.environ.update(environment)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(sure)
        if multiprocessing.get_start_method(allow_none=True) != method:
            multiprocessing.set_start_method(method, force=True)
        _forget_hydra()


@contextmanager
def _kept_logging() -> Iterator[None]:
    """Hydra configures the root logger; afterwards it is as it was, and the run's log file is closed."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


def _forget_hydra() -> None:
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


def _end_wandb() -> None:
    """Ends wandb's run and its service, and forgets the settings that it has seen."""
    wandb = sys.modules.get("wandb")
    if wandb is None:
        return
    if wandb.run is not None:
        with suppress(Exception):  # its test has failed already
            wandb.run.finish(exit_code=1)
        wandb.sdk.lib.module.unset_globals()
    wandb.teardown()


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path) -> Iterator[None]:
    """Every test works in a folder of its own and leaves nothing to the next one."""
    with _leaving_nothing(tmp_path):
        yield


@pytest.fixture
def alone() -> Callable[[Path], AbstractContextManager[None]]:
    """Do in a folder what a test does, and leave nothing."""
    return _leaving_nothing


HOLD = """import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def at_work() -> Callable[[Path], AbstractContextManager[None]]:
    """Let another process hold the status.json of a run folder for a while."""

    @contextmanager
    def hold(run: Path) -> Iterator[None]:
        command = [sys.executable, "-c", HOLD, str(run / "status.json")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            yield

    return hold


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wandb that no setting of the machine reaches, and that keeps its files beside the run."""
    for name in ("WANDB_MODE", "WANDB_DATA_DIR", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CONSOLE", "off")  # it and pytest take each other's stdout away


@pytest.fixture(scope="session")
def records() -> Callable[[Path], dict[str, list[Any]]]:
    """What wandb kept of the offline run below a folder, kind -> its records; it is a log of LevelDB's format."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    def read(folder: Path) -> dict[str, list[Any]]:
        wandb.teardown()  # its service writes behind the back of `finish`
        data = next(folder.rglob("offline-run-*/*.wandb")).read_bytes()
        found: dict[str, list[Any]] = {}
        place, part = 7, b""
        while place + 7 <= len(data):  # blocks of 32 KiB, records in parts
            if (left := 32768 - place % 32768) < 7:
                place += left
                continue
            _, size, kind = struct.unpack_from("<IHB", data, place)
            part, place = part + data[place + 7 : place + 7 + size], place + 7 + size
            if kind in (1, 4):  # whole, or the last part
                entry, part = Record.FromString(part), b""
                name = entry.WhichOneof("record_type")
                found.setdefault(name, []).append(getattr(entry, name))
        return found

    return read


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete embedded corpus of 12 + 4 + 4 clips, made once."""
    return corpus_folder(cache=str(tmp_path_factory.mktemp("corpus")), **CORPUS)


@pytest.fixture(scope="session")
def tiny(corpus: Path) -> list[str]:
    """Overrides that make `slt.train` a run of two steps on `corpus` in a second or two."""
    return [f"dataset.root={corpus}", *TINY]


@pytest.fixture
def compose() -> Callable[..., Any]:
    """Compose overrides (and `name`, the command) into the configuration that an entry point gets."""

    def make(*overrides: str, name: str = "train") -> Any:
        import hydra

        from slt.config.checks import CONF

        with hydra.initialize_config_dir(str(CONF), version_base=None):
            return hydra.compose(name, overrides=list(overrides))

    return make


@pytest.fixture(scope="session")
def clips(corpus: Path) -> Any:
    """The training split of `corpus`, not augmented."""
    from slt.corpora.folder import LsaTMultiStream
    from slt.data import Crops, Landmarks

    folders = {"face": "face", "left_hand": "hand_l", "right_hand": "hand_r"}
    readers: dict[str, Any] = {n: Crops(folder=f, size=CROPS, jitter=0.0, colour=0.0) for n, f in folders.items()}
    readers["pose"] = Landmarks(folder="pose", points="upper_body", normalise="shoulders", jitter=0.0, noise=0.0)
    return LsaTMultiStream(
        root=corpus, split="train", streams=readers, fps=None, max_frames=20, length_tolerance=0, augment=None, seed=1
    )


@pytest.fixture(scope="session")
def tokenizer(clips: Any) -> Any:
    """A tokenizer trained on the sentences of `clips`."""
    from slt.models.tokenizer import train_tokenizer

    return train_tokenizer(list(clips.texts), kind="bpe", vocab_size=150)


@pytest.fixture
def batch(clips: Any, tokenizer: Any) -> Any:
    """Three clips of different length (B=3, T<=20), padded, with tokens (B, L); fresh tensors in every test."""
    from slt.models.tokenizer import Tokenize
    from slt.streams.batch import Collate

    shortest = int(clips.lengths.argmin())
    samples = [clips[i] for i in (shortest, *(i for i in range(3) if i != shortest))][:3]
    for sample, frames in zip(samples, (7, 12, 20), strict=True):
        sample.streams = {name: x[:frames] for name, x in sample.streams.items()}
        sample.seen = {name: mask[:frames] for name, mask in sample.seen.items()}
    return Collate(Tokenize(tokenizer, 64))(samples)


@pytest.fixture
def build(compose: Callable[..., Any], tiny: list[str], clips: Any, tokenizer: Any) -> Callable[..., Any]:
    """Build the tiny translator that conf/ and overrides describe: evaluation mode, the same weights each time."""

    def make(*overrides: str) -> Any:
        from slt.config.build import build_translator, stream_shapes

        torch.manual_seed(0)
        other = any(override.startswith("temporal=") for override in overrides)  # which has keys of its own
        cfg = compose(*(each for each in tiny if not (other and each.startswith("temporal."))), *overrides)
        return build_translator(cfg, tokenizer, stream_shapes(clips)).eval()

    return make


@pytest.fixture
def published(tmp_path: Path) -> Callable[[str], Path]:
    """Write a tiny checkpoint of a family with its own tokenizer, as the hub has them."""

    def make(family: str) -> Path:
        import tokenizers
        import transformers

        folder = tmp_path / family
        pieces = [(piece, -2.0) for piece in "▁.,?!¿¡abcdefghijlmnopqrstuvxyzáéíóúñABCDEFGHIJLMNOPQRSTUVY"]
        specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        if family == "llm":
            return language_model(folder)
        if family == "byt5":
            tokenizer: Any = transformers.ByT5Tokenizer()
        elif family == "bart":
            letters = specials + sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
            tokenizer = transformers.BartTokenizer(vocab={letter: i for i, letter in enumerate(letters)}, merges=[])
        elif family == "mbart":
            vocab = [(special, 0.0) for special in specials[:4]] + pieces
            tokenizer = transformers.MBart50Tokenizer(vocab=vocab, src_lang="en_XX")
        else:
            vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces]
            tokenizer = transformers.T5Tokenizer(vocab=vocab, extra_ids=0)
        tokenizer.save_pretrained(folder)
        sizes = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 32, "num_layers": 1, "decoder_start_token_id": 0}
        if "t5" not in family:
            sizes = {f"{side}_{key}": value for side in ("encoder", "decoder")
                     for key, value in {"layers": 1, "attention_heads": 2, "ffn_dim": 32}.items()}  # fmt: skip
            sizes |= {"d_model": 16, "max_position_embeddings": 512, "decoder_start_token_id": 2}
        ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
        own = family in ("t5_v1_1", "flan_t5", "mt5", "byt5")  # a head; of the others it is the embedding
        sizes |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False} if own else {}
        kind = family if family in ("mt5", "bart", "mbart") else "t5"
        config = transformers.AutoConfig.for_model(kind, vocab_size=len(tokenizer), **ids, **sizes)
        torch.manual_seed(0)
        model = transformers.AutoModelForSeq2SeqLM.from_config(config)
        if own:
            model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
            model.config.tie_word_embeddings = False
        model.save_pretrained(folder)
        return folder

    return make


def language_model(folder: Path) -> Path:
    """Write a tiny Qwen2 with its own tokenizer, which as published adds no token and pads with its end token."""
    import tokenizers
    import transformers

    letters = ["<|endoftext|>", *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())]
    end = dict.fromkeys(("eos_token", "pad_token"), letters[0])
    tokenizer = transformers.Qwen2Tokenizer(vocab={letter: i for i, letter in enumerate(letters)}, merges=[], **end)
    tokenizer.save_pretrained(folder)
    config = transformers.AutoConfig.for_model(
        "qwen2", vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


# What may bring a file that says `hydra.mode`: options of sweep/, recipes, other folders of configuration.
OF_MODES = re.compile(r"sweep|hydra\.mode|hydra\.searchpath|experiments=|^-(?!m$)")


@contextmanager
def _drawn(curves: bool) -> Iterator[None]:
    """Drawing a run's curves takes as long as the steps of a short one: only where they are looked at."""
    with pytest.MonkeyPatch.context() as patch:
        if not curves:
            patch.setattr("slt.commands.train.save_curves", lambda curves, path: None)
        yield


@contextmanager
def _composed_once(overrides: Sequence[str]) -> Iterator[None]:
    """Hydra composes all that a command is given twice, first only to see whether a file says `hydra.mode`."""
    with pytest.MonkeyPatch.context() as patch:
        if not any(map(OF_MODES.search, overrides)):
            patch.setattr(Hydra, "get_mode", lambda *_, **__: None, raising=False)
        yield


@dataclass
class Ran:
    """What an entry point left."""

    status: int
    out: str
    err: str
    folder: Path | None  # of the run

    @property
    def named_folder(self) -> bool:
        """Whether the last line on standard output names the run folder."""
        assert self.folder is not None
        return self.out.splitlines()[-1] == f"run folder: {os.path.relpath(self.folder)}"


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Any]:
    """Run a command's real entry point with overrides, in this process and in tmp_path; gives `Ran`.

    A training has its curves.png only with `curves=True`.
    """

    def run(command: str, *overrides: str, curves: bool = False) -> Ran:
        function = {"eval": "evaluate"}.get(command, command)
        there = set(tmp_path.rglob(".hydra"))
        monkeypatch.setattr(sys, "argv", [f"slt.{command}", *overrides])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        capfd.readouterr()
        status = 0
        with _kept_logging(), _composed_once(overrides), _drawn(curves or command != "train"):
            try:
                getattr(importlib.import_module(f"slt.{command}"), function)()
            except SystemExit as leaving:
                status = leaving.code if isinstance(leaving.code, int) else 1
            finally:
                _forget_hydra()
                os.environ.pop("HYDRA_FULL_ERROR", None)
        out, err = capfd.readouterr()
        made = sorted(path.parent for path in set(tmp_path.rglob(".hydra")) - there)
        return Ran(status, out, err, made[-1] if made else None)

    return run
