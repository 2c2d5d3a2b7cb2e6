"""What `import slt` gives: `slt.load`, `slt.extract` and `slt.score`, over the same functions and keys as the commands.

T frames, R crop side, K landmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from slt.commands.film import open_model
from slt.config.checks import check
from slt.config.compose import composed
from slt.exporting.hub import fetched
from slt.extraction.clip import build_extractor, opened
from slt.extraction.extracted import Extracted, extract_film
from slt.extraction.source import Box, Source
from slt.files import existing
from slt.inference.model import Model

if TYPE_CHECKING:
    from slt.commands.score import Scored


def load(
    model: str | Path, *, device: str | None = None, search: Mapping[str, Any] | None = None, **keys: Any
) -> Model:
    """Open a trained model.

    Args:
        model: a run folder of `slt.train`, a checkpoint (.pt), an exported folder of `slt.export`, or what was pushed
            to the Hugging Face hub: `hf://OWNER/NAME`, of a certain revision `hf://OWNER/NAME@REVISION`.
        device: auto, cpu, cuda or cuda:N.
        search: `num_beams`, `length_penalty`, `max_tokens` (of a sentence), `nbest` (sentences a caption).
        keys: any other key of `conf/demo.yaml`, as on the command line: `encoder`, `threads`, `segments`, `fps`,
            `signer`, `box`, `other_extractor`, `trust`, ... What is None is as that file says.

    Raises:
        FileNotFoundError: no such folder, file or repository.
        ValueError: it is no model, was changed, or a key does not fit.
        ModuleNotFoundError: an extra is missing; it is named.
    """
    cfg = composed("demo", {"model": str(fetched(model)), "device": device, "search": search, **keys})
    check(OmegaConf.merge(cfg, {"ui": "web"}))  # type: ignore[arg-type]  # as on the page, what is read comes later
    return open_model(cfg)


def extract(
    film: str | Path,
    *,
    fps: float | None = None,
    points: str | None = None,
    box: Box | None = None,
    mirrored: bool = False,
    **keys: Any,
) -> Extracted:
    """Extract the streams of a film: crops of face and hands, and the pose, as `python -m slt.extract` writes them.

    Args:
        film: its path; it is in memory whole afterwards (at 30 frames/s and crops of 224 pixels 14 MB a second).
        fps: frames a second at which it is read; None = its own, up to `max_fps`.
        points: of the pose: body, body_hands, holistic; with `extractor="rtmw"` wholebody.
        box: where the signer is: x0, y0, x1, y1 in pixels.
        mirrored: whether the film shows the signer as a mirror does.
        keys: any other key of `conf/extract.yaml` that says how films are read: `extractor`, `signer`, `max_fps`, ...

    Returns:
        Its `streams` (crops RGB uint8 (T, R, R, 3), pose float32 (T, K, 3)), `seen`, `fps`, `duration`, `skeleton`;
        `Model.translate` and `Model.encode` take it.

    Raises:
        FileNotFoundError, ValueError: there is no such film, or it cannot be read.
    """
    path = existing(film, "a film")
    # Nothing is written; `out` is what the command, which writes a corpus, must be given.
    asked = {"source": path, "out": path.parent, "fps": fps, "points": points, "mirrored": mirrored, **keys}
    cfg = composed("extract", asked)
    check(cfg)
    cfg.signer = cfg.signer if box is None else "box"
    made = (instantiate(cfg[key], _convert_="all") for key in ("landmarker", "extractor"))
    with opened(partial(build_extractor, *made)) as extractor:
        assert extractor is not None
        source = Source(path.stem, path, box=box, mirrored=cfg.mirrored)
        return extract_film(source, extractor, fps=cfg.fps, max_fps=cfg.max_fps)


def score(
    hypotheses: Sequence[str] | Path,
    references: Sequence[str] | Path,
    *,
    baseline: Sequence[str] | Path | None = None,
    dataset: str | None = None,
    bootstrap: int | None = None,
    seed: int | None = None,
    **scoring: Any,
) -> Scored:
    """Score sentences against their references, as `python -m slt.score` does.

    Args:
        hypotheses: N sentences, or the path of a file with one a line (as a `Path`).
        references: as many; none is empty.
        baseline: another system's, which the paired bootstrap tests the hypotheses against.
        dataset: score as the literature of this corpus does (a name of `conf/dataset`).
        bootstrap: resamples behind each 95 % interval and behind the test; 0 = none.
        seed: of the resamples.
        scoring: what differs from the conventions of `dataset`: `tokenize`, `lowercase`, `final_stop`, `characters`.

    Returns:
        `found["bleu"]` is a `Score` with `value`, `low`, `high` (in percent) and `signature`; `found.differences` are
        those to the baseline.

    Raises:
        ValueError: other numbers of sentences, or an empty reference.
    """
    from slt.commands import score as command  # here: an exported folder needs none of it, nor torch

    said: dict[str, Any] = {"references": references, "hypotheses": hypotheses, "baseline": baseline}
    given = {name: value for name, value in said.items() if value is not None}
    for name, value in given.items():
        if isinstance(value, str):
            raise ValueError(f"{name}: a list of sentences or a Path expected, came a single text: {value[:40]!r}")
    keys = {"dataset": dataset, "bootstrap": bootstrap, "seed": seed, "scoring": scoring or None}
    cfg = command.narrowed(composed("score", {"hypotheses": "hypotheses", "references": "references", **keys}))
    check(cfg)
    lines = {name: command.read_sentences(value) if isinstance(value, Path) else [*value]
             for name, value in given.items()}  # fmt: skip
    command.refuse_unaligned(lines, {name: value if isinstance(value, Path) else name for name, value in given.items()})
    return command.score_sentences(
        lines, conventions=command.conventions_of(cfg), bootstrap=cfg.bootstrap, seed=cfg.seed
    )
