"""A folder of one's own films to a model: looked over, extracted, split, trained, scored, exported, reported."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from slt.commands.recipes import Recipe, Splits, choose_recipe, choose_split, expectations, split_lines
from slt.commands.steps import Step, given, last_of_each, same_films, written
from slt.config.checks import check, taken
from slt.config.compose import composed_of
from slt.corpora import layout
from slt.corpora.elan import tiers_in
from slt.extraction.captions import Captions
from slt.extraction.run import read_prints
from slt.extraction.sources import Footage, captions_below
from slt.extraction.splitting import Splitting
from slt.extraction.survey import Survey, survey
from slt.text import near, plain_name

MEANING = {
    "extract": "crops of face and hands, and key points, of every clip; splits; a report",
    "train": "a model of the training clips",
    "eval": "its scores, beside floors and controls",
    "export": "a folder that translates films (slt.demo, slt.load)",
}


def start(cfg: DictConfig) -> int:
    """Looks, says what it found, and runs what is not done; returns the exit status."""
    check(cfg)
    folder = Path(cfg.source)
    out = Path(cfg.out or Path("outputs", "start", plain_name(folder.resolve().name)))
    captions = choose_captions(folder, cfg)
    reading = last_of_each([*captions, *given(cfg, "extract")])
    found = look(folder, reading)
    splitting = choose_split(found, cfg)
    splits: Splits = splitting.deal(found.clips)
    recipe = choose_recipe(found, splits, cfg)
    extraction = extract_step(found, splitting, out, reading)
    for lines in (found.lines(), split_lines(found, splitting, splits), expectations(found, splits, cfg.few),
                  recipe.reasons):  # fmt: skip
        print("\n".join(lines), end="\n\n")
    done = same_films(out / "corpus", [*found.clips, *(clip for clip, _ in found.failing)])
    if cfg.dry:
        tell(extraction, done=done)
        for step in later_steps(found, splits, recipe, out, cfg):
            tell(step)
        return 0
    if status := go(extraction, done=done):
        return status
    kept, now = as_extracted(found, out / "corpus")
    if now != {name: [*ids] for name, ids in splits.items()}:  # somebody is not seen in some clip, or a film failed
        splits, recipe = now, choose_recipe(kept, now, cfg)
        print("\n".join([*split_lines(kept, splitting, now), *recipe.reasons]))
    steps = later_steps(kept, splits, recipe, out, cfg)
    for step in steps:
        if status := go(step):
            return status
    report, exported = steps[1].folder / "report.html", steps[2].makes[0].parent
    print(f"\nextraction: {out / 'corpus' / 'report.html'}\nmodel: {exported}\nreport: {report}")
    print(f"another film: {shlex.join(['python', '-m', 'slt.demo', written('model', exported), 'source=FILM'])}")
    if cfg.open:
        webbrowser.open(report.resolve().as_uri())
    return 0


def choose_captions(folder: Path, cfg: DictConfig) -> list[str]:
    """Choose the format of the captions, and ELAN's tier; what else lies there is said, and not read."""
    if not folder.is_dir():
        raise FileNotFoundError(f"source={folder}: no such folder; expected one with films and their captions")
    own = cfg.extract.get("captions", {})
    if "path" in own:
        return [] if cfg.captions == "auto" else [f"captions.format={cfg.captions}"]
    there = captions_below(folder, unquoted=bool(own.get("unquoted")))
    format = max(there, key=lambda each: len(there[each]), default=None) if cfg.captions == "auto" else cfg.captions
    if format not in there:
        raise ValueError(
            f"{folder}: no captions{'' if format is None else f' of captions={format}'}; expected FILM.srt, FILM.vtt "
            "or FILM.eaf beside each film, or a table subs.csv: `video_id;texto` of films that are one sentence each, "
            "`video_id;video;start;end;texto` of cuts"
        )
    for other, names in there.items():
        if other != format:
            print(f"also there, and not read: {len(names)} files of captions={other}, as {names[0]}")
    return [f"captions.format={format}", *(choose_tier(folder, cfg.tier) if format == "elan" else [])]


def choose_tier(folder: Path, tier: str | None) -> list[str]:
    """Choose the tier that holds most words, and say which others there are."""
    tiers = tiers_in(folder)
    if not tiers or not max(words for _, words in tiers.values()):
        raise ValueError(f"{folder}: no annotation with a word in its .eaf files; write the sentences into a tier")
    if tier is None:
        tier = next(iter(tiers))
    elif tier not in tiers and all(sign not in tier for sign in "|()[].*+?"):
        raise ValueError(f"tier={tier}: no such tier{near(tier, tiers)} (there are: {', '.join(tiers)})")
    said = ", ".join(f"{name} ({count} annotations, {words} words)" for name, (count, words) in tiers.items())
    print(f"sentences are read from the tier {tier}; there are: {said}; tier=NAME takes another")
    return [written("captions.tier", tier)]


def look(folder: Path, overrides: Sequence[str]) -> Survey:
    """Look a folder over as slt.extract, given the same keys, would read it."""
    cfg = composed_of("extract", [written("source", folder), "out=none", *overrides])
    check(cfg)
    found = survey(folder, taken(Footage, cfg), taken(Captions, cfg.captions))
    if not found.clips:
        raise ValueError("\n".join([f"{folder}: no clip that can be extracted", *found.missing()]))
    return found


def extract_step(found: Survey, splitting: Splitting, out: Path, overrides: Sequence[str]) -> Step:
    shares = [f"split.{name}={getattr(splitting, name)}" for name in ("train", "val", "test")]
    failing = [f"max_failures={found.failing_films}"] if found.failing_films else []
    return Step(
        "extract",
        (written("source", found.folder), written("out", out / "corpus"), f"split.by={splitting.by}",
         f"split.seed={splitting.seed}", *(shares if splitting.by != "all_train" else ()), *failing, *overrides),
        out / "extract",
        makes=tuple(out / "corpus" / name for name in ("corpus.json", "subs.csv", "index/SHA256SUMS")),
        ends=(0, 2),
    )  # fmt: skip


def as_extracted(found: Survey, corpus: Path) -> tuple[Survey, Splits]:
    """Return the clips that came into a split, and the splits, as the corpus has them."""
    table = {row["video_id"]: row for row in layout.read_table(corpus / "subs.csv")}
    splits = layout.read_splits(corpus, table, layout.refuse, layout.SPLITS)
    there = {name for ids in splits.values() for name in ids}
    kept = replace(found, clips=[clip for clip in found.clips if clip.video_id in there])
    return kept, {name: splits[name] for name in layout.SPLITS if name in splits}


def later_steps(found: Survey, splits: Splits, recipe: Recipe, out: Path, cfg: DictConfig) -> list[Step]:
    """Return training, evaluation and export, in folders whose name holds a digest of all that they come from."""
    corpus = out / "corpus"
    home = out / f"{recipe.name}-{digest(found, splits, [*recipe.overrides, *given(cfg, 'extract')])}"
    run, best = home / "train", home / "train" / "checkpoints" / "best.pt"
    checkpoint = written("checkpoint", run)
    train = Step(
        "train",
        ("dataset=lsa_t", written("dataset.root", corpus), *recipe.overrides, "final=null", "resume=auto"),
        run,
        makes=(best,),
    )
    scored = home / "eval"
    evaluate = Step(
        "eval",
        (checkpoint, f"split={recipe.scored}", *given(cfg, "eval")),
        scored,
        makes=(scored / "report.html", scored / "scores.json"),
        of=(best,),
    )
    made = home / plain_name(found.folder.resolve().name)
    export = Step(
        "export",
        (checkpoint, written("out", made), written("scores", scored), f"parity.split={recipe.scored}",
         *given(cfg, "export")),
        home / "export",
        makes=(made / "manifest.json",),
        of=(best,),
    )  # fmt: skip
    return [train, evaluate, export]


def digest(found: Survey, splits: Mapping[str, Sequence[str]], overrides: Sequence[str]) -> str:
    """Return eight signs that stand for films by their content, captions, splits and overrides."""
    prints = read_prints(found.clips)
    clips = [[clip.video_id, clip.text, clip.start, clip.end, sorted(clip.columns.items()), prints[clip.path]]
             for clip in found.clips]  # fmt: skip
    text = json.dumps([clips, sorted((name, [*ids]) for name, ids in splits.items()), [*overrides]])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def tell(step: Step, *, done: bool = True) -> bool:
    """Print a step, and return whether it is finished, and `done` by its content."""
    print(f"{step.name}: {MEANING[step.name]}\n  {step.command}")
    if finished := done and step.finished():
        print(f"  finished already, in {step.folder}")
    return finished


def go(step: Step, *, done: bool = True) -> int:
    """Run a step that is not finished; return 0 where the next one can follow, else how it ended."""
    if tell(step, done=done):
        return 0
    status = step.run()
    if status in step.ends:
        return 0
    print(f"error: {step.name} ended with exit status {status}, said above; start again to go on from there: what is "
          "finished is passed over", file=sys.stderr)  # fmt: skip
    return status if status > 0 else 128 - status
