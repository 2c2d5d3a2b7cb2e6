"""The site's pages, gathered for mkdocs: docs/, README, the lab notebook, every key of conf/, and the API by room."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig

from slt.__main__ import COMMANDS
from slt.config.usage import about, keys_of
from slt.words import say

HOME = Path(__file__).resolve().parent.parent
CONF = HOME / "conf"
ENDINGS = {"en": ".md", "es": ".es.md"}
# Files that are pages of other names here.
MOVED = (
    (re.compile(r"\]\((?:\.\./)?README(?:\.es)?\.md"), "](index.md"),
    (re.compile(r"\]\((?:\.\./)?experiments/README\.md"), "](notebook.md"),
    (re.compile(r"\]\((?:\.\./)?docs/"), "]("),
    (re.compile(r"\]\((?:\.\./)?LICENSE\)"), "](license.md)"),
)
SAYS = {
    "en": {
        "configuration": "Configuration",
        "options": "Options",
        "from": "Made from the comments of `conf/`, which `--help` prints too. `???` has to be given.",
        "key": "key",
        "value": "value",
        "what": "what",
    },
    "es": {
        "configuration": "Configuración",
        "options": "Opciones",
        "from": "Hecha con los comentarios de `conf/`, que `--help` también imprime. `???` debe darse.",
        "key": "clave",
        "value": "valor",
        "what": "qué es",
    },
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Write all pages into one folder, and the rooms and pages that the navigation does not name into it."""
    folder = Path(config.site_dir).parent / "build" / "docs"
    if config.docs_dir != str(folder):  # else another language of the same build
        config.docs_dir = str(folder)
        gather(folder, rooms=[name[4:-3] for name in _named(config.nav) if name.startswith("api-")])
        names = {path.name for path in folder.glob("*.md") if not path.name.endswith(".es.md")}
        config.nav = _there(config.nav, names)
        if rest := sorted(names - set(_named(config.nav))):
            config.nav.append({"More": rest})
    return config


def gather(folder: Path, *, rooms: Iterable[str]) -> None:
    """Write the pages of both languages, as NAME.md and NAME.es.md, with the API of some rooms, and their pictures."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (HOME / "docs").iterdir():
        if path.suffix in (".md", ".png", ".jpg", ".svg", ".css"):
            shutil.copy(path, folder)
    shutil.copy(HOME / "experiments" / "README.md", folder / "notebook.md")
    shutil.copy(HOME / "LICENSE", folder / "license.md")
    for language, ending in ENDINGS.items():
        shutil.copy(HOME / f"README{ending}", folder / f"index{ending}")
        for name, lines in (("configuration", commands(language)), ("options", options(language))):
            (folder / f"{name}{ending}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for room in rooms:
        (folder / f"api-{room}.md").write_text("\n".join(_api(room)), encoding="utf-8")
        # Once only, in English: each name of the API has one place.
        link = f'# {room}\n\n<a href="../api-{room}.html">La API de {room}, en inglés</a>\n'
        (folder / f"api-{room}.es.md").write_text(link, encoding="utf-8")
    for path in folder.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        for was, now in MOVED:
            text = was.sub(now, text)
        path.write_text(text, encoding="utf-8")


def commands(language: str) -> Iterator[str]:
    """The page of every command's keys, in Markdown."""
    yield from (f"# {SAYS[language]['configuration']}", "", SAYS[language]["from"], "")
    shared = [path for path in sorted(CONF.glob("*.yaml")) if path.stem not in COMMANDS]
    for path in sorted(CONF.glob("*.yaml")):
        if path not in shared:
            yield from _keys(path, f"## slt.{path.stem}", language)
    for path in shared:
        yield from _keys(path, f"## {path.name}", language)


def options(language: str) -> Iterator[str]:
    """The page of every group's options and their keys, in Markdown."""
    yield from (f"# {SAYS[language]['options']}", "", SAYS[language]["from"], "")
    for folder in sorted({path.parent for path in CONF.rglob("*/*.yaml")}):
        group = folder.relative_to(CONF).as_posix()
        yield from (f"## {group}", "")
        for path in sorted(folder.glob("*.yaml")):
            yield from _keys(path, f"### {group}={path.stem}", language)


def _keys(path: Path, title: str, language: str) -> Iterator[str]:
    """A file of conf/ under a title: what it says of itself, and its keys in a table."""
    text, says = path.read_text(encoding="utf-8"), SAYS[language]
    yield from (title, "", _plain(say(about(text), language)), "")
    keys = [(key, value, said) for key, value, said in keys_of(text) if value or said]
    if keys:
        yield from (f"| {says['key']} | {says['value']} | {says['what']} |", "|---|---|---|")
        for key, value, said in keys:
            yield f"| `{key}` | {f'`{value}`' if value else ''} | {_plain(say(said, language))} |".replace("||", "| |")
        yield ""


def _plain(text: str) -> str:
    """A text in which nothing but what stands in `...` is Markdown."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([<>*|\[\]_#])", r"\\\1", part) for part in parts)


def _api(room: str) -> Iterator[str]:
    """The page of a room: each module's classes and functions by mkdocstrings, which reads and does not import them."""
    yield f"# {room}\n"
    yield f"{ast.get_docstring(ast.parse((HOME / 'slt' / room / '__init__.py').read_text(encoding='utf-8')))}\n"
    for path in sorted((HOME / "slt" / room).rglob("*.py")):
        if path.name != "__init__.py":
            yield f"::: {'.'.join(path.relative_to(HOME).with_suffix('').parts)}\n"


def _there(nav: Any, names: set[str]) -> Any:
    """A part of the navigation without the pages that there are not (yet)."""
    if isinstance(nav, list):
        return [kept for entry in nav if (kept := _there(entry, names))]
    if isinstance(nav, dict):
        return {title: kept for title, entry in nav.items() if (kept := _there(entry, names))}
    return nav if nav in names else None


def _named(nav: Any) -> Iterator[str]:
    """The pages that a part of the navigation names."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _named(entry)
