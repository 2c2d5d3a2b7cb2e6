"""The embedded corpus on disk: written once for a set of parameters, in the LSA-T layout, whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
from filelock import FileLock
from tqdm import tqdm

from slt.corpora import layout
from slt.files import write_json
from slt.synthetic.filming import GENERATOR, SPLITS, Clip, Noise, cast, plan, write_clip
from slt.synthetic.grammar import GRAMMARS, transcribe, translate
from slt.synthetic.lexicon import describe, lexicon


def corpus_folder(
    *,
    cache: str,
    size: str,
    seed: int,
    clips: Mapping[str, int],
    signers: Mapping[str, int],
    left_handed: float,
    fps: float,
    crop_size: int,
    encoding: str,
    quality: int,
    noise: Mapping[str, float],
    workers: int,
    progress: bool,
) -> Path:
    """Return the folder of the corpus that these parameters give; write it first if it is not there yet.

    Args:
        cache: folder that holds the corpora, one sub-folder for every set of parameters; "~" is the home folder.
        size: lexicon and grammar, "default" or "hard".
        seed: of everything random.
        clips: number of clips of train, val and test; no two clips of a corpus have the same sentence.
        signers: number of signers of train, val and test; no signer is in two splits.
        left_handed: share of left-handed signers (at least one of each split that has three signers or more, if not 0).
        fps: frames a second.
        crop_size: side R of the crops in pixels.
        encoding, quality: as in `write_packed`.
        noise: the values of `Noise`.
        workers: processes that draw; 0 draws in this one. The corpus is the same for any number.
        progress: whether to show a progress bar.

    Raises:
        ValueError: a parameter is out of its range.
    """
    parameters = {
        "generator": GENERATOR,
        "size": size,
        "seed": seed,
        "clips": dict(clips),
        "signers": dict(signers),
        "left_handed": float(left_handed),
        "fps": float(fps),
        "crop_size": crop_size,
        "encoding": encoding,
        "quality": quality,
        "noise": {key: float(value) for key, value in noise.items()},
    }
    _check(parameters)
    fingerprint = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(cache).expanduser() / f"synthetic-{fingerprint}"
    if (folder / "corpus.json").is_file():
        return folder
    with _building(folder) as building:
        if building is not None:
            _write(building, parameters, fingerprint, workers, progress)
    return folder


def _check(parameters: Mapping[str, Any]) -> None:
    for key in ("clips", "signers"):
        if set(parameters[key]) != set(SPLITS) or min(parameters[key].values()) < 1:
            raise ValueError(f"{key}: a number of at least 1 for each of train, val and test, came {parameters[key]}")
    if not 0 <= parameters["left_handed"] <= 1:
        raise ValueError(f"left_handed={parameters['left_handed']}: a share of the signers, 0 to 1")
    if not 16 <= parameters["crop_size"] <= 512:
        raise ValueError(f"crop_size={parameters['crop_size']}: 16 to 512 pixels")
    if parameters["encoding"] not in ("raw", "jpeg"):
        raise ValueError(f"encoding={parameters['encoding']!r}: 'raw' or 'jpeg'")
    names = [field.name for field in dataclasses.fields(Noise)]
    if set(parameters["noise"]) != set(names) or min(parameters["noise"].values()) < 0:
        raise ValueError(f"noise: {', '.join(names)}, each 0 or more, came {parameters['noise']}")


@contextlib.contextmanager
def _building(folder: Path) -> Iterator[Path | None]:
    """Give a folder to build in, which becomes `folder` at the end; None if another process has built it meanwhile.

    What a killed process left behind is removed; a folder without corpus.json is never used.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if (folder / "corpus.json").is_file():
            yield None
            return
        building = folder.with_name(f".{folder.name}.building")
        for remains in (building, folder):
            if remains.exists():
                shutil.rmtree(remains)
        building.mkdir()
        try:
            yield building
            building.rename(folder)
        except BaseException:  # Ctrl-C too: a full disk should not stay full
            shutil.rmtree(building, ignore_errors=True)
            raise


def _write(folder: Path, parameters: Mapping[str, Any], fingerprint: str, workers: int, progress: bool) -> None:
    clips = plan(parameters)
    task = {"folder": str(folder), "parameters": parameters, "extractor": f"synthetic-{fingerprint}"}
    drawn = _draw_in_processes(task, workers) if workers else _draw(task, clips)
    facts = {fact["video_id"]: fact for fact in tqdm(drawn, "corpus", len(clips), unit="clip", disable=not progress)}
    layout.write_table(folder / "subs.csv", [_row(clip, facts[clip.name]) for clip in clips])
    layout.write_metadata(folder / "metadata.jsonl", [facts[clip.name] for clip in clips])
    for split in SPLITS:
        layout.write_index(folder / "index" / f"{split}.csv", [clip.name for clip in clips if clip.split == split])
    write_json(folder / "labels" / "lexicon.json", describe(lexicon(parameters["size"])))
    write_json(folder / "labels" / "grammar.json", dataclasses.asdict(GRAMMARS[parameters["size"]]))
    signers = {split: [dataclasses.asdict(signer) for signer in signers] for split, signers in cast(parameters).items()}
    write_json(folder / "labels" / "signers.json", signers)
    corpus = {"name": "synthetic", "maker": "slt.synthetic", "parameters": parameters, "fingerprint": fingerprint}
    write_json(folder / "corpus.json", corpus)


def _row(clip: Clip, fact: Mapping[str, Any]) -> dict[str, str]:
    """Return a clip's row of subs.csv."""
    return {
        "video_id": clip.name,
        "texto": translate(clip.meaning),
        "gloss": transcribe(clip.meaning),
        "signer": clip.signer.name,
        "film": f"{clip.signer.name}_film{clip.film}",
        "fps": f"{fact['fps']:g}",
        "duration": f"{fact['frames'] / fact['fps']:.3f}",
        "frame_count": str(fact["frames"]),
    }


# ---------------------------------------------------------------- drawing in several processes


def _draw(task: Mapping[str, Any], clips: Sequence[Clip]) -> Iterator[dict[str, Any]]:
    for clip in clips:
        yield write_clip(clip, Path(task["folder"]), task["parameters"], task["extractor"])


def draw_share() -> None:
    """Draw every n-th clip of the task on stdin, one metadata row a line on stdout: what each worker process runs."""
    task = json.load(sys.stdin)
    cv2.setNumThreads(1)  # the processes share the cores already
    try:
        for fact in _draw(task, plan(task["parameters"])[task["share"] :: task["workers"]]):
            print(json.dumps(fact), flush=True)
    except (KeyboardInterrupt, BrokenPipeError):  # the parent was stopped, and says so itself
        os._exit(130)


def _draw_in_processes(task: Mapping[str, Any], workers: int) -> Iterator[dict[str, Any]]:
    """Give the metadata rows as processes finish their clips, in no order.

    Plain processes, not multiprocessing: that would import the caller's main module again in each of them, which is
    slow in a training run and fails in notebooks and in scripts without a `__main__` guard.

    Raises:
        RuntimeError: a process failed; its own error is on stderr.
    """
    lines: queue.Queue[str | None] = queue.Queue()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", "from slt.synthetic.writing import draw_share; draw_share()"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment)
        for _ in range(workers)
    ]
    readers = [threading.Thread(target=_read, args=(process, lines), daemon=True) for process in processes]
    try:
        for share, (process, reader) in enumerate(zip(processes, readers, strict=True)):
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # if it died, its exit code will tell
                json.dump({**task, "share": share, "workers": workers}, stdin)
            reader.start()
        ended = 0
        while ended < workers:
            line = lines.get()
            if line is None:
                ended += 1
                failed = [process.returncode for process in processes if process.poll()]
                if failed:
                    raise RuntimeError(f"the embedded corpus: a drawing process ended with code {failed[0]}, see above")
            else:
                yield json.loads(line)
    finally:
        for process, reader in zip(processes, readers, strict=True):
            process.kill()
            process.wait()
            if reader.ident is not None:
                reader.join()


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    """Hand on what a process writes, then None when it has ended."""
    assert process.stdout is not None
    with process.stdout as stdout:
        for line in stdout:
            lines.put(line)
    process.wait()
    lines.put(None)
