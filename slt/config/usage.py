"""What `--help` prints of a command, read off its own files under `conf/`: groups with options, keys with comments."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from slt.words import say

KEY = re.compile(r"^( *)(\w+):(?: +([^#\s].*?))?(?: +# *(.*))?$")
SILENT = ("defaults", "hydra")  # sections that are Hydra's
WIDEST = 24  # of a default value; a longer one is cut
MORE = """\
python -m slt.{command} --cfg job      prints the whole configuration, every key of it, and runs nothing
python -m slt.{command} -m KEY=A,B     runs every combination, each in its own folder
python -m slt.{command} --hydra-help   Hydra's own flags
"""


def usage(command: str, conf: Path, roots: Sequence[Path]) -> str:
    """The help of `python -m slt.<command>`; `experiments=NAME` is looked for in `roots`."""
    text = (conf / f"{command}.yaml").read_text(encoding="utf-8")
    sections = [f"python -m slt.{command}: {say(about(text))}"]
    if groups := _groups(text, conf, roots):
        sections.append(_table(say("Groups, GROUP=OPTION (* is taken where none is named)"), groups))
    keys = [(key, value if len(value) <= WIDEST else f"{value[: WIDEST - 3]}...", say(said))
            for name in _files(command, conf) for key, value, said in keys_of(name.read_text(encoding="utf-8"))
            if said]  # fmt: skip
    sections.append(_table(say("Keys, KEY=VALUE"), keys))
    return "\n\n".join([*sections, say(MORE).format(command=command)])


def about(text: str) -> str:
    """What a configuration file says of itself in the comments that it begins with; "" where it says nothing."""
    head = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return "\n".join(line[2:] for line in head if not line.startswith("# @package"))


def keys_of(text: str) -> list[tuple[str, str, str]]:
    """Dotted key, value and comment of every key of a configuration file's text; "" where there is none."""
    found: list[tuple[str, str, str]] = []
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        if match := KEY.match(line):
            indent, name, value, said = len(match[1]), match[2], match[3] or "", match[4] or ""
            parents = [parent for parent in parents if parent[0] < indent] + [(indent, name)]
            if parents[0][1] not in SILENT and not name.startswith("_"):
                found.append((".".join(name for _, name in parents), value, said))
    return found


def _defaults(text: str) -> list[Any]:
    # Only this section: other values may hold what YAML and OmegaConf read differently.
    section = re.search(r"^defaults:\n(?:[ #].*\n)+", text, re.MULTILINE)
    return yaml.safe_load(section[0])["defaults"] if section else []


def _files(name: str, conf: Path) -> list[Path]:
    """A command's file, then those that its defaults list takes in whole, without the parts of constructors."""
    path = conf / f"{name}.yaml"
    entries = [entry for entry in _defaults(path.read_text(encoding="utf-8")) if isinstance(entry, str)]
    taken = [file for entry in entries if (conf / f"{entry}.yaml").is_file() for file in _files(entry, conf)]
    return [path, *(file for file in taken if "_target_:" not in file.read_text(encoding="utf-8"))]


def _groups(text: str, conf: Path, roots: Sequence[Path]) -> list[tuple[str, str]]:
    """Group and its options in one line; the default is starred, what takes the same options stands below."""
    chosen: dict[str, str | None] = {}
    elsewhere: dict[str, list[str]] = {}
    for entry in _defaults(text):
        for name, option in entry.items() if isinstance(entry, dict) else ():
            group = name.partition("@")[0]
            if "@" in name:
                elsewhere.setdefault(group, []).append(name)
            chosen.setdefault(group, option)
    rows = []
    for group, taken in chosen.items():
        folders = [conf / group, *(root / group for root in roots if group == "experiments")]
        options = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
        rows.append((group, ", ".join(f"{option}*" if option == taken else option for option in options)))
        rows += [(f"  {name}", say("the same options")) for name in elsewhere.get(group, ())]
    return rows


def _table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Rows under a title, in columns; the last one is as long as it is."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
             for row in rows]  # fmt: skip
    return "\n".join([title, *(f"  {line}".rstrip() for line in lines)])
