"""The site of docs/: every link and anchor leads somewhere, in both languages, and no page asks another host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site but for its API, which is `make docs`'s alone: it takes as long again. A warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
        config.nav = [without_api(part) for part in config.nav]
        build(config)
    return folder


def without_api(part: dict[str, Any]) -> dict[str, Any]:
    return {name: [entry for entry in of if "API" not in entry] if isinstance(of, list) else of
            for name, of in part.items()}  # fmt: skip


def test_the_site_has_both_languages_search_and_every_page_of_docs(site: Path) -> None:
    pages = {path.name.split(".")[0] for path in (ROOT / "docs").glob("*.md")} | {"index", "configuration", "options"}
    assert {path.stem for path in site.glob("*.html")} >= pages
    assert {path.stem for path in (site / "es").glob("*.html")} >= pages
    assert (site / "search" / "search_index.json").stat().st_size > 100_000
    assert '<html lang="es"' in (site / "es" / "tutorial.html").read_text("utf-8")


def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text("utf-8")
        asked = re.findall(r'<(?:script|img|iframe|source)[^>]*\ssrc="?((?:https?:)?//[^">\s]*)', text)
        asked += re.findall(
            r'<link[^>]*rel="?(?:stylesheet|preconnect|icon|preload)[^>]*href="?((?:https?:)?//[^">\s]*)', text
        )
        assert asked == [], path.name
    for path in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//|@import", path.read_text("utf-8")) == [], path.name


def test_the_reference_has_every_key_and_option_of_conf_in_both_languages(site: Path) -> None:
    english, spanish = ((site / folder / "options.html").read_text("utf-8") for folder in (".", "es"))
    for path in (ROOT / "conf").glob("*/*.yaml"):
        assert f"{path.parent.name}={path.stem}" in english
        assert f"{path.parent.name}={path.stem}" in spanish
    keys = (site / "es" / "configuration.html").read_text("utf-8")
    assert re.search(r"<code>max_steps</code></td>\s*<td><code>1050</code></td>\s*<td>actualizaciones</td>", keys)
