"""What an extraction starts from: the films of a folder, the captions that belong to them, and their splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from slt.data import layout

FILMS = (".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".gif")


@dataclass(frozen=True)
class Source:
    """One film to extract: its id, its file and its row in the table of captions."""

    video_id: str
    path: Path
    row: Mapping[str, str]


def find_films(folder: Path | str, captions: Path | str | None, *, unquoted: bool) -> list[Source]:
    """Pair the films of a folder, by name without ending, with the rows of the table of captions, in its order.

    Args:
        folder: where the films lie; `subs.csv` there is the table where `captions` is None.
        captions: the table, `video_id;texto[;...]`.
        unquoted: take all after the first `;` of a two-column table as text, see `read_captions`.

    Raises:
        FileNotFoundError: no such folder or table, or a row without a film.
        ValueError: a fault in the table, two films of one name, a film without a row, or a name that cannot be an id.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"source={folder}: no such folder; expected one with films ({', '.join(FILMS)})")
    films: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in FILMS):
        if path.stem in films:
            raise ValueError(f"{path}: {films[path.stem].name} has the same name, which is the clip's id; rename one")
        films[path.stem] = path
    if not films:
        raise FileNotFoundError(f"source={folder}: no film in this folder; expected {', '.join(FILMS)}")
    table = Path(captions) if captions is not None else folder / "subs.csv"
    rows = {row["video_id"]: row for row in read_captions(table, unquoted=unquoted)}
    for name in rows:
        if name.startswith(("-", ".")) or any(sign in name for sign in '/\\:*?"<>|'):
            raise ValueError(f"{table}: video_id {name!r} cannot name files; use letters, digits, `_` and `-` inside")
    if missing := sorted(rows.keys() - films.keys()):
        raise FileNotFoundError(f"{folder}: no film for {_some(missing)} of {table}; add the films or remove the rows")
    if without := sorted(films.keys() - rows.keys()):
        raise ValueError(f"{table}: no row for the film {_some(without)}; add `video_id;texto` or move the film away")
    return [Source(name, films[name], row) for name, row in rows.items()]


def read_captions(path: Path, *, unquoted: bool) -> list[dict[str, str]]:
    """Read a table of captions.

    Strictly RFC 4180 with `;` unless `unquoted`: then the table must have the two columns `video_id;texto`, each line
    is one row, and all after its first `;` is text (49 lines of LSA-T hold a `;` without quotes around it).

    Raises:
        FileNotFoundError: no such table.
        ValueError: naming file and line.
    """
    if not unquoted:
        try:
            return layout.read_table(path)
        except ValueError as error:
            raise ValueError(f"{error}. (captions.unquoted=true takes all after a row's first `;` as text)") from error
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table; expected `video_id;texto`, or give captions.path=")
    header, *lines = path.read_text(encoding="utf-8-sig").splitlines()
    if header.strip() != "video_id;texto":
        raise ValueError(f"{path} line 1: `video_id;texto` expected with captions.unquoted=true, came {header!r}")
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, 2):
        name, _, text = (part.strip() for part in line.partition(";"))
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1].replace('""', '"')
        if line.strip() and (not name or not text or name in rows):
            fault = f"the id {name!r} came before" if name in rows else "an id and a text expected"
            raise ValueError(f"{path} line {number}: {fault}, came {line!r}")
        if line.strip():
            rows[name] = {"video_id": name, "texto": text}
    return list(rows.values())


def split_ids(
    ids: Iterable[str], *, mode: str, train: float, val: float, test: float, seed: int
) -> dict[str, list[str]]:
    """Share clips out to the splits.

    Args:
        ids: the clips; a clip's place depends on its own id and the seed, so that a longer list moves few.
        mode: "random", or "all_train" for a handful of clips that are all trained on.
        train, val, test: shares that sum to 1; unused by "all_train".
        seed: of the order in which clips are shared out.
    """
    ids = list(ids)
    if mode == "all_train":
        return {"train": ids}
    if mode != "random" or min(train, val, test) < 0 or abs(train + val + test - 1) > 1e-6:
        raise ValueError(
            "split: mode must be random or all_train, with shares of at least 0 that sum to 1; "
            f"came mode={mode}, train={train}, val={val}, test={test}"
        )
    order = sorted(ids, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    first, second = round(len(ids) * train), round(len(ids) * (train + val))
    chosen = {"train": set(order[:first]), "val": set(order[first:second]), "test": set(order[second:])}
    shares = {"train": train, "val": val, "test": test}
    empty = [split for split, share in shares.items() if share > 0 and not chosen[split]]
    if empty:
        raise ValueError(
            f"split: {len(ids)} clips leave {' and '.join(empty)} empty at {train}/{val}/{test}; "
            "take other shares, or split.mode=all_train"
        )
    return {split: [name for name in ids if name in names] for split, names in chosen.items() if names}


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
