"""`slt.export` through its real entry point: a tiny run becomes a folder that translates alike, or nothing at all."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import onnx
import pytest
import torch
from bench.landmarker_stub import write_film
from omegaconf import OmegaConf
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import slt
from slt.commands.export import open_run, scored_by
from slt.corpora import layout
from slt.exporting import folder as folders
from slt.inference import OnnxTranslator
from slt.inference.checkpoint import CheckpointTranslator, TorchScriptTranslator
from slt.inference.onnx import feeds
from slt.models.signature import read_manifest
from slt.streams.sample import pad_clips
from slt.training import lineage
from slt.training.checkpoint import find_checkpoint, load_checkpoint

LIGHT = ("parity.batches=3", "parity.limit=3")
SIZES = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
         "max_position_embeddings": 64}  # fmt: skip
TWO = "dataset.only=[face,pose]"  # of most tests the run has all four; the exporter takes its time for each
BART = (TWO, "decoder=bart_small", "decoder.prompt=la casa", "temporal.downsample=2", "fusion=mean",
        "dataset.max_frames=40", *(f"decoder.config.{key}={value}" for key, value in SIZES.items()))  # fmt: skip
_made: dict[str, Path] = {}


@pytest.fixture
def keep(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[], Path]], Path]:
    """Make a folder once for all tests."""

    def get(key: str, make: Callable[[], Path]) -> Path:
        if key not in _made:
            _made[key] = Path(shutil.copytree(make(), tmp_path_factory.mktemp("kept") / key.replace(" ", "_")))
        return _made[key]

    return get


@pytest.fixture
def trained(entry: Any, tiny: list[str], keep: Any) -> Callable[..., Path]:
    """The folder of a run of 12 steps."""

    def make(key: str, *overrides: str) -> Path:
        def train() -> Path:
            own = [each for each in tiny if not (overrides and each.startswith("decoder.config="))]  # T5's sizes
            ran = entry("train", *own, "max_steps=12", "eval_every=12", "optimizer.lr=0.01", "schedule.warmup_steps=2",
                        "final=null", "good_chrf=20", *overrides)  # fmt: skip
            assert ran.status == 0, ran.err
            return ran.folder

        return keep(f"run {key}", train)

    return make


@pytest.fixture
def run(trained: Callable[..., Path]) -> Path:
    """A run with a T5 decoder."""
    return trained("t5")


@pytest.fixture
def exported(entry: Any, run: Path, keep: Any) -> Path:
    """Its export in float32, with a program."""

    def make() -> Path:
        ran = entry("export", f"checkpoint={run}", "out=made/plain", "program=true", *LIGHT)
        assert ran.status == 0, ran.err
        assert "0 of 3 sentences differ" in ran.out
        assert ran.named_folder
        return Path("made/plain")

    return keep("plain", make)


@pytest.fixture
def inputs(clips: Any) -> list[Any]:
    """Three clips as an encoder reads them."""
    return [clips[index] for index in range(3)]


def the_message(ran: Any) -> str:
    """The one message of an export that stopped."""
    assert (ran.status, ran.err.count("error: ")) == (1, 1), ran.err
    return ran.err


def test_folder_is_whole_and_says_what_it_is(exported: Path, run: Path) -> None:
    manifest = read_manifest(exported)
    there = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert {"encoder_plain.onnx", "encoder_plain.ts", "encoder_plain.pt2", "cross_plain.onnx", "decoder_plain.onnx",
            "tokenizer.json", "tokenizer/tokenizer_config.json"} < there  # fmt: skip
    assert set(manifest.files) == there - {"manifest.json", "README.md"}
    assert [stream.name for stream in manifest.streams] == ["face", "left_hand", "right_hand", "pose"]
    assert manifest.streams[3].points == "upper_body"
    assert manifest.streams[0].folder == "face"
    assert [tensor.name for tensor in manifest.graphs["encoder"].inputs][4:] == [
        "seen_face", "seen_left_hand", "seen_right_hand", "seen_pose", "frames",
    ]  # fmt: skip
    for graph in ("encoder", "cross", "decoder"):
        loaded = onnx.load(exported / f"{graph}_plain.onnx").graph
        assert [x.name for x in loaded.input] == [x.name for x in manifest.graphs[graph].inputs]
        assert [x.name for x in loaded.output] == [x.name for x in manifest.graphs[graph].outputs]
    assert (manifest.fps, manifest.max_frames, manifest.precision) == (7.5, 200, "fp32")
    assert manifest.extractor_settings is not None
    assert manifest.extractor_settings["name"] == "slt.synthetic"
    assert manifest.parity["sentences"]["differing"] == {"greedy": 0, "beam": 0}
    assert max(manifest.parity["largest_difference"].values()) < manifest.parity["tolerance"]


@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3, "length_penalty": 0.5}, {"max_tokens": 4}])
def test_translators_of_a_folder_and_of_its_checkpoint_write_the_same(
    exported: Path, run: Path, inputs: list[Any], options: dict[str, Any]
) -> None:
    translators: list[Any] = [
        CheckpointTranslator(open_run(run)[0], precision="fp32"), OnnxTranslator(exported),
        TorchScriptTranslator(exported),
    ]  # fmt: skip
    wanted, *others = [each.translate_batch(inputs, **options) for each in translators]
    for found in others:
        for ours, theirs in zip(wanted, found, strict=True):
            assert [(one.text, one.ids) for one in ours] == [(one.text, one.ids) for one in theirs]
            np.testing.assert_allclose([one.score for one in ours], [one.score for one in theirs], atol=1e-4)
            sure = [one[0].confidence for one in (ours, theirs)]
            known = "max_tokens" in options  # of another beam than that of the evaluation nobody knows how sure it is
            assert sure == ([pytest.approx(sure[0], abs=1e-4)] * 2 if known else [None, None])
            assert not known or 0 < sure[0] < 1
    assert len({one.streams for one in translators}) == 1
    assert [each.translate(inputs[0], **options)[0].text for each in translators] == [wanted[0][0].text] * 3


def test_program_gives_the_encoder_s_numbers_at_other_lengths(exported: Path, inputs: list[Any]) -> None:
    manifest = read_manifest(exported)
    arrays = feeds(*pad_clips(inputs))
    program = torch.export.load(exported / "encoder_plain.pt2").module()
    memory, present = program(*(torch.from_numpy(arrays[x.name]) for x in manifest.graphs["encoder"].inputs))
    script = TorchScriptTranslator(exported)
    wanted, there = script.encoder(*(torch.from_numpy(arrays[x.name]) for x in manifest.graphs["encoder"].inputs))
    assert torch.equal(present, there)
    torch.testing.assert_close(memory[there], wanted[there], atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_bart_with_its_text_encoder_is_exported_at_another_precision(
    entry: Any, trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, keep: Any, precision: str
) -> None:
    run = trained("bart", *BART)
    _reuse(monkeypatch, keep)
    ran = entry("export", f"checkpoint={run}", f"out=made/{precision}", "name=small", f"precision={precision}", *LIGHT)
    assert ran.status == 0, ran.err
    assert "BLEU" in ran.out
    if precision == "int8":
        assert "stay float32: " in ran.out
        assert "Conv in encoder" in ran.out
    manifest = read_manifest(f"made/{precision}")
    kinds = {node.op_type for node in onnx.load(f"made/{precision}/decoder_small.onnx").graph.node}
    assert ("MatMulInteger" in kinds) == (precision == "int8")
    # The graphs as they were before are held to the tolerance; what became of them is measured.
    assert max(manifest.parity["largest_difference"].values()) < manifest.parity["tolerance"]
    assert 1e-6 < manifest.parity[precision]["decoder"] < 0.5
    assert set(manifest.parity["sentences"]["bleu"]["beam"]) == {"checkpoint", "exported"}


def _reuse(monkeypatch: pytest.MonkeyPatch, keep: Any) -> None:
    """Write the same graphs once only: two exports of one run differ in what becomes of these."""
    real = folders._write_graphs
    written: dict[str, Any] = _written

    def write(trained: Any, folder: Path, name: str, program: bool) -> Any:
        if "specs" not in written:
            written["specs"] = real(trained, folder, name, program)
            keep("graphs", lambda: folder)
        shutil.copytree(keep("graphs", lambda: folder), folder, dirs_exist_ok=True)
        return written["specs"]

    monkeypatch.setattr(folders, "_write_graphs", write)


_written: dict[str, Any] = {}


@pytest.mark.parametrize("graph", ["encoder", "cross", "decoder"])
def test_a_disturbed_weight_fails_the_export_and_leaves_nothing(
    entry: Any, run: Path, exported: Path, monkeypatch: pytest.MonkeyPatch, graph: str
) -> None:
    def write(trained: Any, folder: Path, name: str, program: bool) -> Any:
        for path in exported.glob("*_plain.*"):
            shutil.copy(path, folder / path.name)
        disturb(folder / f"{graph}_plain.onnx")
        return dict(read_manifest(exported).graphs), 20

    monkeypatch.setattr(folders, "_write_graphs", write)
    message = the_message(entry("export", f"checkpoint={run}", "out=elsewhere/wrong", "name=plain", *LIGHT))
    shown = "decoder" if graph == "cross" else graph
    assert f"error: {shown}_plain.onnx, " in message
    assert "differs from the model by" in message
    assert "batch 0 of [1] frames" in message if graph == "encoder" else "token 0 of clips" in message
    assert list(Path("elsewhere").iterdir()) == []


def disturb(path: Path) -> None:
    """Add noise to a graph's largest weights (a constant would vanish before a softmax, or behind a norm)."""
    model = onnx.load(path)
    weights = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    most = max(np.prod(tensor.dims) for tensor in weights)
    for tensor in [tensor for tensor in weights if np.prod(tensor.dims) == most]:
        changed = onnx.numpy_helper.to_array(tensor).copy()
        changed += np.random.default_rng(0).normal(0, 0.1, changed.shape).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
    onnx.save(model, path)


def test_what_a_user_gets_wrong_is_said_at_once(entry: Any, run: Path) -> None:
    Path("there").mkdir()
    for overrides, said in (
        ([f"checkpoint={run}", "out=there"], "out=there: is there already; remove it, or give another name"),
        (["checkpoint=nowhere", "out=x"], "checkpoint=nowhere: no such file or folder"),
        ([f"checkpoint={run}", "out=x", "precision=bf16"], "precision=bf16: expected one of fp32, fp16, int8"),
        ([f"checkpoint={run}", "out=x", "search.max_tokens=900"], "search.max_tokens=900: the run was trained on at"),
        ([f"checkpoint={run}"], "out"),
    ):
        assert said in the_message(entry("export", *overrides))
    assert not Path("x").exists()


def test_nothing_given_away_names_a_folder_of_the_machine(exported: Path, run: Path) -> None:
    """Every file of an export, members of archives too, and the checkpoints."""
    here = [str(Path.home()), str(Path(__file__).parents[1]), str(Path(torch.__file__).parent)]
    files = [path for path in exported.rglob("*") if path.is_file()]
    for path in [*files, *(run / "checkpoints").iterdir()]:
        found = [path.read_bytes()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                found += [archive.read(name) for name in archive.namelist()]
        assert [folder for folder in here if any(f"{folder}/".encode() in data for data in found)] == [], path.name


def test_the_weights_of_a_folder_are_the_checkpoint_and_nothing_in_them_runs(exported: Path, run: Path) -> None:
    wanted, found = (load_checkpoint(find_checkpoint(each, "best.pt")) for each in (run, exported))
    assert wanted.keys() == found.keys()
    assert wanted["model"].keys() == found["model"].keys()
    assert all(torch.equal(x, found["model"][name]) for name, x in wanted["model"].items())
    assert {key: found[key] for key in ("shapes", "signers", "data", "step")} == {
        key: wanted[key] for key in ("shapes", "signers", "data", "step")}  # fmt: skip
    assert found["data"]["clips"] == 12
    with slt.load(exported, encoder="torch") as loaded, slt.load(run) as before:
        assert loaded.about.startswith("weights of")
        assert loaded.translator.trained.name == exported.name
        clip = before.clips(OmegaConf.load(run / "config.yaml").dataset.root, "test")[0]
        assert np.array_equal(loaded.encode(clip), before.encode(clip))


def test_transformers_reads_the_decoder_and_the_tokenizer_of_a_folder(exported: Path, run: Path) -> None:
    ours = open_run(run)[0]
    theirs, told = AutoModelForSeq2SeqLM.from_pretrained(exported, subfolder="decoder", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    state = ours.translator.decoder.model.state_dict()
    assert all(torch.equal(state[name], x) for name, x in theirs.state_dict().items())
    words = AutoTokenizer.from_pretrained(exported, subfolder="tokenizer")
    assert words("¿Dónde está?")["input_ids"] == ours.tokenizer("¿Dónde está?")["input_ids"]


def test_damaged_weights_are_refused_by_their_file(exported: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(exported, tmp_path / "broken"))
    (broken / "decoder" / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: truncated or no safetensors"):
        open_run(broken)
    with pytest.raises(ValueError, match="sha256 .* expected"):
        slt.load(broken, encoder="torch")


def test_a_card_shows_no_scores_of_another_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text('{"step": 3}', encoding="utf-8")
    assert scored_by(tmp_path, {"step": 3}) == tmp_path
    with pytest.raises(ValueError, match="at step 3, but this one is at step 4"):
        scored_by(tmp_path, {"step": 4})
    with pytest.raises(FileNotFoundError, match=r"scores\.json: no such file; expected the run folder of an eval"):
        scored_by(tmp_path / "nowhere", {"step": 3})


def test_a_folder_is_pushed_with_its_card_and_opened_again_by_its_name(
    entry: Any, exported: Path, hub: Path, inputs: list[Any]
) -> None:
    ran = entry("export", f"out={exported}", "push=me/tiny")
    assert ran.status == 0, ran.err
    assert "pushed: https://huggingface.co/me/tiny" in ran.out
    with slt.load("hf://me/tiny") as loaded, slt.load(exported) as here:
        assert str(loaded.translator.folder).startswith(str(hub))
        assert [str(one) for one in loaded.translate(inputs)] == [str(one) for one in here.translate(inputs)]
    sent = loaded.translator.folder
    assert not [path for path in sent.rglob("*") if path.suffix in {".ts", ".pt2", ".pt", ".bin", ".pkl", ".py"}]
    assert 'slt.load("hf://me/tiny")' in (sent / "README.md").read_text(encoding="utf-8")
    assert (exported / "encoder_plain.ts").is_file()
    assert read_manifest(exported)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the hub: what is uploaded lies there as the library keeps what it has fetched."""

    def create(self: Any, name: str, **_: Any) -> str:
        return f"https://huggingface.co/{name}"

    def upload(self: Any, *, repo_id: str, folder_path: Path, **_: Any) -> None:
        place, commit = tmp_path / "hub" / f"models--{repo_id.replace('/', '--')}", "0" * 40
        shutil.copytree(folder_path, place / "snapshots" / commit)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(commit, encoding="utf-8")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["push=me"], "push=me: OWNER/NAME of a repository expected"),
        (["push=me/../x"], "push=me/../x: OWNER/NAME of a repository expected"),
        ([], "checkpoint is missing"),
        (["push=me/tiny"], "nowhere/manifest.json: no such folder"),
    ],
)
def test_what_cannot_be_pushed_is_said_before_any_work(entry: Any, overrides: list[str], said: str) -> None:
    assert said in the_message(entry("export", "out=nowhere", *overrides))


def test_a_push_that_fails_leaves_the_folder_and_says_how_to_send_it(entry: Any, exported: Path) -> None:
    message = the_message(entry("export", f"out={exported}", "push=me/tiny"))  # offline, as all tests are
    assert f"python -m slt.export out={exported} push=me/tiny" in message
    assert read_manifest(exported)
    assert not [*exported.parent.glob("slt-push-*")]


def test_a_model_that_is_not_on_the_hub_is_told(hub: Path) -> None:
    with pytest.raises(FileNotFoundError, match="model=hf://me/nothing: it is not in the hub's cache"):
        slt.load("hf://me/nothing")
    with pytest.raises(ValueError, match="model=hf://me: OWNER/NAME"):
        slt.load("hf://me")


def test_the_split_compared_is_the_run_s_own_and_a_missing_one_is_named_with_its_key(
    entry: Any, trained: Callable[..., Path], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Path(shutil.copytree(corpus, "alone"))
    for name in ("val", "test"):
        (alone / "index" / f"{name}.csv").unlink()
    own = trained("one split", f"dataset.root={corpus}", "val=train", "final=train", "max_steps=1", "eval_every=1",
                  "good_chrf=null")  # fmt: skip
    compared = []

    def stop(_: Any, __: Any, given: Any, **___: Any) -> None:
        compared.append(given.clips.split)
        raise ValueError("enough")

    monkeypatch.setattr("slt.commands.export.export_folder", stop)
    the_message(entry("export", f"checkpoint={own}", "out=x", f"dataset.root={alone}"))
    assert compared == ["train"]
    message = the_message(entry("export", f"checkpoint={own}", "out=x", f"dataset.root={alone}", "parity.split=test"))
    assert "parity.split" in message


def test_manifest_s_own_record_is_json_without_strange_numbers(exported: Path) -> None:
    text = (exported / "manifest.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_signer_is_traced_to_checkpoints_and_exports_and_named_nowhere(
    exported: Path, run: Path, corpus: Path
) -> None:
    rows = layout.read_table(corpus / "subs.csv")
    clips = layout.read_index(corpus / "index" / "train.csv")
    signers, trained = {row["signer"] for row in rows}, {row["signer"] for row in rows if row["video_id"] in clips}
    assert trained < signers
    for signer in signers:
        found = dict(lineage.who_has_seen(signer, run)) | dict(lineage.who_has_seen(signer, exported))
        assert set(found.values()) == {signer in trained}
        assert {path.name for path in found} == {"best.pt", "last.pt", exported.name}
    assert not any(signer in (exported / "lineage.json").read_text() for signer in signers)


@pytest.mark.usefixtures("offline")
def test_export_is_on_the_board_between_its_checkpoint_and_its_folder(
    entry: Any, run: Path, exported: Path, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_before(_: Any, out: Path, *__: Any, **___: Any) -> Any:
        return read_manifest(Path(shutil.copytree(exported, out)))

    monkeypatch.setattr("slt.commands.export.export_folder", made_before)
    ran = entry("export", f"checkpoint={run}", "out=made/shown", "wandb.mode=offline")
    assert ran.status == 0, ran.err
    found = records(ran.folder)
    told = {each.name.split("-")[0]: each for each in found["artifact"]}
    assert {name: each.use_after_commit for name, each in told.items()} == {
        "dataset": True, "checkpoint": True, "export": False}  # fmt: skip
    files = {path.name for path in exported.rglob("*") if path.is_file()}
    assert {Path(content.path).name for content in told["export"].manifest.contents} == files
    assert {"val/bleu", "val/checkpoint_bleu", "val/differing"} <= {  # its run has no final split
        update.key for each in found["summary"] for update in each.update
    }


class Recurrent(torch.nn.Module):
    """A temporal encoder of one's own: a bidirectional GRU, (B, T, D) and (B, T) bool -> the same."""

    stride = 1

    def __init__(self, *, embed_dim: int) -> None:
        super().__init__()
        self.forth, self.back = (torch.nn.GRU(embed_dim, embed_dim // 2, batch_first=True) for _ in range(2))

    def forward(self, x: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Each clip from its own end, so that padding comes last in both directions.
        turned = frames.sum(1, keepdim=True) - 1 - torch.arange(x.shape[1], device=x.device)
        turned = torch.where(turned < 0, turned + x.shape[1], turned)
        back = self.back(x.gather(1, turned[..., None].expand_as(x)))[0]
        return torch.cat([self.forth(x)[0], back.gather(1, turned[..., None].expand_as(back))], 2), frames

    def length(self, frames: int) -> int:
        return frames


def test_a_temporal_encoder_of_one_s_own_trains_exports_and_runs_live(
    entry: Any, trained: Callable[..., Path], tiny: list[str], inputs: list[Any], tmp_path: Path
) -> None:
    own = [f"temporal._target_={__name__}.Recurrent"]
    own += [f"~temporal.{key}" for key in ("depth", "num_heads", "mlp_ratio", "dropout", "downsample")]
    run = trained("own", TWO, *own, *(each for each in tiny if each.startswith("decoder.config=")))
    rows = [line.split(",") for line in (run / "metrics.csv").read_text(encoding="utf-8").splitlines()]
    losses = [float(value) for _, name, value in rows if name == "train/loss"]
    assert losses[-1] < losses[0]
    ran = entry("export", f"checkpoint={run}", "out=made/own", f"trust=[{__name__}]", *LIGHT)
    assert ran.status == 0, ran.err
    assert max(read_manifest("made/own").parity["largest_difference"].values()) < 1e-4  # of ONNX and TorchScript
    assert "0 of 3 sentences differ" in ran.out
    for clip in inputs:
        clip.streams, clip.seen = (
            {name: each[name] for name in ("face", "pose")} for each in (clip.streams, clip.seen)
        )
    found = [made("made/own").translate_batch(inputs, num_beams=3) for made in (OnnxTranslator, TorchScriptTranslator)]
    assert [[one.ids for one in each] for each in found[0]] == [[one.ids for one in each] for each in found[1]]
    write_film(tmp_path / "a.mp4", count=10)
    ran = entry("demo", "model=made/own", "source=a.mp4", "live=true", "headless=true", "queue=100", "out=live",
                "landmarker._target_=bench.signing_stub.SigningLandmarker", "other_extractor=true")  # fmt: skip
    assert ran.status == 0, ran.err
    assert (tmp_path / "live" / "a.srt").stat().st_size > 0
