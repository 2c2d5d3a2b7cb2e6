"""From two text files to scores: read, score as a corpus' literature does, test against a baseline, write, print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from sacrebleu.metrics.bleu import BLEUScore

from slt.config import runs
from slt.config.checks import check
from slt.corpora.cues import FORMATS
from slt.corpora.posed import Line, read_lines
from slt.evaluation import metrics
from slt.evaluation.metrics import Difference, Score
from slt.evaluation.prediction import write_scores
from slt.evaluation.segments import paired, score_segments
from slt.evaluation.settings import Conventions
from slt.files import existing

TESTED = ("bleu", "chrf")  # against a baseline


@dataclass(frozen=True)
class Scored(Mapping[str, Score]):
    """What sentences score: a mapping from a score's name, as bleu, to it.

    Attributes:
        scores: of the hypotheses, see `slt.evaluation.metrics.score`.
        terms: what BLEU is made of: `precisions` of 1- to 4-grams in percent, `bp`, `sys_len`, `ref_len`.
        baseline: the scores of the baseline; empty without one.
        differences: bleu and chrf -> how far the hypotheses are above the baseline; empty without one.
    """

    scores: Mapping[str, Score]
    terms: BLEUScore
    baseline: Mapping[str, Score]
    differences: Mapping[str, Difference]

    def __getitem__(self, name: str) -> Score:
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)


def score(cfg: DictConfig) -> float:
    """Scores, and returns BLEU."""
    cfg = narrowed(cfg)
    check(cfg)
    folder, conventions = runs.begin_run(cfg), conventions_of(cfg)
    files = {name: Path(cfg[name]) for name in ("references", "hypotheses", "baseline") if cfg[name] is not None}
    timed = {name: read_lines(path) for name, path in files.items() if is_timed(path)}
    said = read_timed(timed, files) if timed else read_aligned(files)
    counts = {
        str(name): read_numbers(Path(file), len(said["references"])) for name, file in cfg.sentence_scores.items()
    }
    found = score_sentences(said, conventions=conventions, bootstrap=cfg.bootstrap, seed=cfg.seed)
    drawn = {"bootstrap": cfg.bootstrap, "seed": cfg.seed}
    scores = dict(found) | {
        name: metrics.averaged(values, f"avg:sentence|file:{Path(cfg.sentence_scores[name]).name}", **drawn)
        for name, values in counts.items()
    }
    print(f"{files['hypotheses']}: {len(said['references'])} sentences beside {files['references']}")
    print("\n".join(table(scores)))
    terms = found.terms
    parts = "/".join(f"{value:.2f}" for value in terms.precisions)
    print(f"  BLEU: n-grams {parts}, brevity {terms.bp:.3f}, {terms.sys_len} tokens for {terms.ref_len}")
    beside: dict[str, Any] = {
        "precisions": terms.precisions, "brevity": terms.bp, "tokens": [terms.sys_len, terms.ref_len],
        "conventions": conventions, "files": {name: str(path) for name, path in files.items()},
    }  # fmt: skip
    if timed:
        spans = {name: [line[:2] for line in lines] for name, lines in timed.items()}
        segments = score_segments([(spans["hypotheses"], spans["references"])])
        print(f"  {segments}")
        beside["segments"] = segments
    if found.differences:
        print(f"against {files['baseline']}, paired bootstrap:")
        print("\n".join(f"  {name:10s} {told(each, found.baseline[name])}" for name, each in found.differences.items()))
        beside |= {"baseline": dict(found.baseline), "differences": dict(found.differences)}
    write_scores(folder / "scores.json", scores, **beside)
    print(f"scores: {folder / 'scores.json'}")
    return found["bleu"].value


def narrowed(cfg: DictConfig) -> DictConfig:
    """The configuration with nothing of its dataset but how it is scored: where it lies need not be said."""
    if cfg.dataset is not None:
        cfg.dataset = {"scoring": OmegaConf.to_container(cfg.dataset, resolve=False).get("scoring")}  # type: ignore[union-attr]
    return cfg


def score_sentences(
    said: Mapping[str, Sequence[str]], *, conventions: Conventions, bootstrap: int, seed: int
) -> Scored:
    """Scores `hypotheses` against `references` and, where there is one, tests them against a `baseline`."""
    if "baseline" in said and bootstrap == 0:
        raise ValueError("bootstrap=0: no resamples to test baseline with; expected 1 or more, as in bootstrap=1000")
    draws: dict[str, Any] = {"conventions": conventions, "bootstrap": bootstrap, "seed": seed}
    references = said["references"]
    found = {name: metrics.score(said[name], references, **draws) for name in said if name != "references"}
    terms = metrics.bleu_terms(said["hypotheses"], references, conventions)
    tested = {name: difference(said, metric=name, **draws) for name in TESTED} if "baseline" in said else {}
    return Scored(found["hypotheses"], terms, found.get("baseline", {}), tested)


def conventions_of(cfg: DictConfig) -> Conventions:
    """The dataset's conventions, but for what is given beside."""
    own: Any = OmegaConf.to_container(cfg.dataset, resolve=True) if cfg.dataset is not None else {}
    given: Any = OmegaConf.to_container(cfg.scoring, resolve=True)
    beside = {key: value for key, value in given.items() if value is not None}
    return Conventions.of((own.get("scoring") or {}) | beside)


def is_timed(path: Path) -> bool:
    return path.suffix.lower()[1:] in FORMATS


def read_timed(timed: Mapping[str, list[Line]], files: Mapping[str, Path]) -> dict[str, list[str]]:
    """Sentences of a film's subtitle files by name, as many as `references` has captions (see `paired`)."""
    if others := [str(path) for name, path in files.items() if name not in timed]:
        raise ValueError(f"{', '.join(others)}: a subtitle file as the others expected, .srt or .vtt")
    if not timed["references"]:
        raise ValueError(f"{files['references']}: expected captions; it has none")
    return {
        name: [text for *_, text in lines] if name == "references" else paired(lines, timed["references"])
        for name, lines in timed.items()
    }


def read_aligned(files: Mapping[str, Path]) -> dict[str, list[str]]:
    """Sentences of each file by name, of `references` and of others with as many lines.

    Raises ValueError for another number of lines and for an empty reference, FileNotFoundError for no file.
    """
    said = {name: read_sentences(path) for name, path in files.items()}
    refuse_unaligned(said, files)
    return said


def refuse_unaligned(said: Mapping[str, Sequence[str]], files: Mapping[str, Path | str]) -> None:
    """Refuse other numbers of sentences than of `references`, and an empty one among these; `files` are their names."""
    path, references = files["references"], said["references"]
    for name, sentences in said.items():
        if len(sentences) != len(references):
            raise ValueError(
                f"{files[name]} has {len(sentences)} lines, {path} has {len(references)}; expected a line a sentence, "
                "the same sentences in the same order"
            )
    if not references:
        raise ValueError(f"{path}: expected sentences, a line each; it is empty")
    if empty := [line for line, text in enumerate(references, start=1) if not text.strip()]:
        more = f" ({len(empty)} such lines)" if len(empty) > 1 else ""
        raise ValueError(f"{path}, line {empty[0]}: the reference is empty{more}; leave the line out of all files")


def read_sentences(path: Path) -> list[str]:
    """The lines of a utf-8 file; a line ends at a line feed alone, so that no other sign parts a sentence."""
    try:
        text = existing(path, "a sentence a line").read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected utf-8, byte {error.start} is none ({error.reason})") from error
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def read_numbers(path: Path, count: int) -> list[float]:
    """A number a line, as many as there are sentences; ValueError names the line that is none."""
    lines = read_sentences(path)
    if len(lines) != count:
        raise ValueError(f"{path} has {len(lines)} lines for {count} sentences; expected a number a line, one each")
    numbers = []
    for line, text in enumerate(lines, start=1):
        try:
            numbers.append(float(text))
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: a number expected, came {text[:40]!r}") from error
    return numbers


def difference(said: Mapping[str, Sequence[str]], *, metric: str, **draws: Any) -> Difference:
    """What the hypotheses score above the baseline."""
    systems = {name: [said[name]] for name in ("hypotheses", "baseline")}
    return metrics.compare(systems, said["references"], baseline="baseline", metric=metric, **draws)["hypotheses"]


def told(found: Difference, baseline: Score) -> str:
    """A difference in a line: value, interval, p, and what it is a difference to."""
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}], p {found.p:.3f} (baseline {baseline})"


def table(scores: Mapping[str, Score]) -> list[str]:
    """A line a score: name, value with interval, signature."""
    name, value = (max(map(len, cells)) for cells in (scores, map(str, scores.values())))
    return [f"  {each:{name}s} {found!s:{value}s}  {found.signature}" for each, found in scores.items()]
