"""A real browser for tests of pages: where it is, and what axe-core finds wrong with a page that it shows."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")


def axe(browser: Any) -> list[str]:
    """What axe-core finds wrong with the page, by its rules of WCAG 2.2 AA and those it calls best practice."""
    (where,) = importlib.util.find_spec("axe_playwright_python").submodule_search_locations
    browser.execute_script((Path(where) / "axe.min.js").read_text("utf-8"))
    tags = [f"wcag{level}" for level in ("2a", "2aa", "21a", "21aa", "22aa")] + ["best-practice", "experimental"]
    found = browser.execute_async_script(
        "const [tags, done] = arguments; axe.run({runOnly: tags}).then((result) => done(result.violations))", tags
    )
    return [f"{one['id']}: {each['target']} {each['html'][:120]}" for one in found for each in one["nodes"]]
