"""`slt.start FOLDER` through its real entry point: what it finds and says, its commands, going on, recipes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from bench.landmarker_stub import write_film

from slt.commands.recipes import choose_recipe, choose_split
from slt.commands.steps import overrides_of
from slt.config.checks import HOME, check
from slt.config.compose import composed_of
from slt.extraction.source import Source
from slt.extraction.survey import Survey

STUB = "+extract.landmarker._target_=bench.signing_stub.SigningLandmarker"
SMALL = (
    STUB, "+extract.extractor.crop_size=16", "+extract.report=false", "+train.max_steps=2", "+train.eval_every=2",
    "+train.device=cpu", "+train.embed_dim=16", "+train.evaluation.num_beams=1", "+train.evaluation.nbest=1",
    "+train.precision=fp32", "+eval.device=cpu", "+eval.num_workers=0", "+eval.evaluation.bootstrap=5",
    "+eval.evaluation.report_strips=1", "+eval.evaluation.num_beams=1", "+eval.evaluation.nbest=1",
    "+export.parity.batches=1", "+export.parity.limit=1",
)  # fmt: skip
SENTENCES = ("la vecina mira el sol", "el perro come", "hola")


def srt(lines: tuple[str, ...]) -> str:
    cues = [f"{n}\n00:00:0{n - 1},000 --> 00:00:0{n - 1},900\n{line}\n" for n, line in enumerate(lines, 1)]
    return "\n".join(cues)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Five films of three seconds, without captions, in a folder whose name the shell and Hydra would both cut."""
    folder = tmp_path / "it's mine, (día=1)"
    folder.mkdir()
    for n in range(5):
        write_film(folder / f"film {n}.mp4", count=30, shade=10 * n, step=3)
    return folder


@pytest.fixture
def captioned(films: Path) -> Path:
    for n in range(5):
        (films / f"film {n}.srt").write_text(srt((*SENTENCES[:2], f"día {n}")), encoding="utf-8")
    return films


def commands(out: str) -> dict[str, list[str]]:
    """The commands that were printed, as a shell splits them: name -> overrides."""
    lines = [shlex.split(line) for line in out.splitlines() if line.startswith("  python -m slt.")]
    return {line[2].removeprefix("slt."): line[3:] for line in lines}


def test_every_printed_command_runs_alone_and_start_goes_on_after_it(entry: Any, captioned: Path) -> None:
    dry = entry("start", str(captioned), "dry=true", *SMALL)
    assert dry.status == 0, dry.err
    assert not list(Path("outputs/start").glob("*/corpus"))
    steps = commands(dry.out)
    assert [*steps] == ["extract", "train", "eval", "export"]
    for name, overrides in steps.items():
        ran = entry(name, *overrides)
        assert ran.status == 0, ran.err
        if name == "train":
            assert entry("start", str(captioned), "dry=true", *SMALL).out.count("finished already") == 2
    whole = entry("start", str(captioned), *SMALL)  # would start processes for whatever is left
    assert (whole.status, whole.out.count("finished already")) == (0, 4), whole.err
    report = Path(re.findall(r"^report: (.*)$", whole.out, re.MULTILINE)[0])
    assert "perro" in report.read_text(encoding="utf-8")
    scores = json.loads((report.parent / "scores.json").read_text(encoding="utf-8"))
    card = Path(re.findall(r"^model: (.*)$", whole.out, re.MULTILINE)[0], "README.md").read_text(encoding="utf-8")
    assert f"| bleu | {scores['scores']['bleu']['value']:.2f} |" in card
    assert f"On the split {scores['split']}, in percent" in card
    floor = re.findall(r"has (\d+\.\d+) BLEU and", whole.out)[0]
    assert f"{scores['floor']['scores']['bleu']['value']:.2f}" == floor

    (captioned / "film 3.srt").write_text(srt(("otra cosa", "el perro duerme")), encoding="utf-8")
    changed = entry("start", str(captioned), "dry=true", *SMALL)
    assert "finished already" not in changed.out
    assert commands(changed.out)["train"][-1] != steps["train"][-1]  # another folder: nothing made is lost


def test_a_stopped_start_stops_its_step_and_goes_on_after_it(entry: Any, captioned: Path, tmp_path: Path) -> None:
    slow = [str(captioned), STUB.replace("Signing", "Slow"), *SMALL[1:]]
    paths = os.pathsep.join([str(HOME), str(HOME / "tests")])
    process = subprocess.Popen(
        [sys.executable, "-m", "slt.start", *slow], cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    corpus = tmp_path / "outputs" / "start" / captioned.name / "corpus"
    until = time.monotonic() + 120
    while len(list(corpus.glob("pose/*.npz"))) < 2 and time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "error: extract ended with" in err
    assert not (corpus / "corpus.json").exists()
    dry = entry("start", *slow, "dry=true")
    assert "finished already" not in dry.out
    done = entry("extract", *(each.replace("Slow", "Signing") for each in commands(dry.out)["extract"]))
    assert done.status == 0, done.err
    assert 1 <= int(re.findall(r"(\d+)/15 clips", done.err)[0]) < 15  # where it began


def write_vtt(folder: Path) -> None:
    for n in range(5):
        text = srt(SENTENCES).replace(",", ".")
        (folder / f"film {n}.vtt").write_text(f"WEBVTT\n\n{text}", encoding="utf-8")


def write_elan(folder: Path) -> None:
    import pympi

    for n in range(5):
        file = pympi.Eaf()
        for tier, values in (("glosas", ("VECINA", "PERRO", "HOLA")), ("Traducción", SENTENCES)):
            file.add_tier(tier)
            for second, value in enumerate(values):
                file.add_annotation(tier, 1000 * second, 1000 * second + 900, value)
        file.to_file(str(folder / f"film {n}.eaf"))


def write_cuts(folder: Path) -> None:
    rows = [f"{n}-{s};film {n};{s};{s}.9;{text};ana" for n in range(5) for s, text in enumerate(SENTENCES)]
    table = ["video_id;video;start;end;texto;signer", *rows]
    (folder / "subs.csv").write_text("\n".join(table), encoding="utf-8")


def write_whole(folder: Path) -> None:
    rows = [f"film {n};{text}" for n, text in enumerate((*SENTENCES, *SENTENCES[:2]))]
    (folder / "subs.csv").write_text("\n".join(["video_id;texto", *rows]), encoding="utf-8")


@pytest.mark.parametrize(
    ("write", "form", "clips"),
    [(write_vtt, "vtt", 15), (write_elan, "elan", 15), (write_cuts, "cuts", 15), (write_whole, "subs", 5)],
)
def test_each_kind_of_caption_file_is_found_and_split(
    entry: Any, films: Path, write: Any, form: str, clips: int
) -> None:
    write(films)
    ran = entry("start", str(films), "dry=true", STUB)
    assert ran.status == 0, ran.err
    assert f"clips: {clips} sentences" in ran.out
    assert f"captions.format={form}" in commands(ran.out)["extract"]
    assert 'captions.tier="Traducción"' in commands(ran.out)["extract"] or form != "elan"
    assert ("signers: 1" in ran.out) == (form == "cuts")
    sizes = [int(n) for n in re.findall(r"^  (?:train|val|test): clips (\d+)", ran.out, re.MULTILINE)]
    assert len(sizes) == 3
    assert sum(sizes) == clips


def test_what_is_missing_is_named_and_the_rest_goes_on(entry: Any, captioned: Path) -> None:
    (captioned / "film 0.srt").unlink()
    (captioned / "film 1.mp4").write_bytes(b"no film")
    (captioned / "film 9.srt").write_text(srt(("adiós",)), encoding="utf-8")
    (captioned / "notes.vtt").write_text("WEBVTT\n", encoding="utf-8")
    ran = entry("start", str(captioned), "dry=true", STUB)
    assert ran.status == 0, ran.err
    assert "films without captions: 1: film 0.mp4" in ran.out
    assert "captions without a film: 1: film 9" in ran.out
    assert re.search(r"films that cannot be read: 1: film 1.mp4 \(.*film 1.mp4", ran.out)
    assert "not read: 1 files of captions=vtt, as notes.vtt" in ran.out
    assert "clips: 9 sentences" in ran.out
    assert "repeated sentences: 2, in 6 clips" in ran.out
    extract = commands(ran.out)["extract"]
    assert "max_failures=2" in extract
    assert entry("extract", *extract).status == 2  # all but the clips of the broken film and of none
    again = entry("start", str(captioned), "dry=true", STUB)
    assert again.out.count("finished already") == 1


def test_a_folder_without_captions_says_what_was_expected(entry: Any, films: Path) -> None:
    ran = entry("start", str(films))
    assert ran.status == 1
    assert re.match(r"error: .*: no captions; expected FILM.srt", ran.err)


def test_two_films_are_learned_by_heart_and_few_clips_are_told_what_not_to_expect(entry: Any, captioned: Path) -> None:
    for n in (2, 3, 4):
        (captioned / f"film {n}.mp4").unlink()
        (captioned / f"film {n}.srt").unlink()
    ran = entry("start", str(captioned), "dry=true", STUB)
    steps = commands(ran.out)
    assert {"split.by=all_train"} <= {*steps["extract"]}
    assert {"val=train", "final=null"} <= {*steps["train"]}
    assert "split=train" in steps["eval"]
    assert "clips to learn from: 6, too few" in ran.out
    assert "too few" not in entry("start", str(captioned), "dry=true", STUB, "few=6", "sizes.tiny.updates.why=x",
                                  "by_heart.why=x").out  # fmt: skip


def looked(*clips: Source, seconds: float = 4.0) -> Survey:
    return Survey(Path("films"), "cuts", {clip.path: seconds for clip in clips}, {}, clips, (), ())


def clips_of(count: int, *, signers: int = 0) -> list[Source]:
    named = [{"signer": f"s{n % signers}"} if signers else {} for n in range(count)]
    return [Source(f"c{n}", Path(f"f{n}.mp4"), text=f"oración {n}", columns=named[n]) for n in range(count)]


@pytest.mark.parametrize(
    ("count", "seconds", "name"),
    [(10, 4, "tiny"), (300, 1, "tiny"), (300, 4, "small"), (3000, 4, "medium"), (9000, 7, "large")],
)
def test_the_recipe_grows_with_clips_and_hours_and_is_one_that_trains(
    compose: Any, count: int, seconds: float, name: str
) -> None:
    cfg = compose("source=x", name="start")
    found = looked(*clips_of(count), seconds=seconds)
    ids = [clip.video_id for clip in found.clips]
    recipe = choose_recipe(found, {"train": ids, "val": ids[:1], "test": ids[:1]}, cfg)
    assert (recipe.name, recipe.scored) == (name, "test")
    check(composed_of("train", ["dataset=lsa_t", "dataset.root=x", *recipe.overrides]))


def test_weights_from_elsewhere_take_the_decoders_place(compose: Any) -> None:
    cfg = compose(
        "source=x", "pretrained=google-t5/t5-small", "weights=a run", "+train.decoder.max_tokens=7", name="start"
    )
    found = looked(*clips_of(10))
    overrides = choose_recipe(found, {"train": [clip.video_id for clip in found.clips]}, cfg).overrides
    made = composed_of("train", ["dataset=lsa_t", "dataset.root=x", *overrides])
    check(made)
    assert (made.decoder.pretrained, made.start, made.decoder.max_tokens) == ("google-t5/t5-small", "a run", 7)


def test_reasons_are_told_in_the_users_language(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGUAGE", "es")
    found = looked(*clips_of(10))
    reasons = choose_recipe(found, {"train": ["c0"]}, compose("source=x", name="start")).reasons
    assert any(line.endswith(": muy pocos videos como para apartar uno") for line in reasons)


def test_clips_are_split_by_signers_where_there_are_enough(compose: Any) -> None:
    cfg = compose("source=x", name="start")
    assert choose_split(looked(*clips_of(30, signers=6)), cfg).by == "signer"
    assert choose_split(looked(*clips_of(30, signers=5)), cfg).by == "film"
    assert choose_split(looked(*clips_of(2)), cfg).by == "all_train"


def test_keys_of_a_step_are_written_as_hydra_reads_them() -> None:
    keys = {"a": {"b": "x y", "c": [1, "z"]}, "d": None, "e": True, "f": 0.5}
    assert overrides_of(keys) == ['a.b="x y"', 'a.c=[1, "z"]', "d=null", "e=true", "f=0.5"]
