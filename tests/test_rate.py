"""`slt.rate` through its real entry point: the page, a rater in a real browser, and what is read back of several."""

from __future__ import annotations

import csv
import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import CHROMIUM, DRIVER, axe

from slt.evaluation.prediction import Prediction, write_predictions
from slt.evaluation.rating import TEXTS

NAMES = ("zebra", "yak")  # systems, by words that no page says
QUALITY = {"reference": 90.0, "zebra": 60.0, "yak": 25.0}
IMAGE = '<img src="data:image/webp;base64,UklGRg==" width="9" height="4" loading="lazy" alt="Filmstrip of clip {clip}">'
MANY = ("clips=8", "repeats=3", "spoiled=4", "seed=3")


@pytest.fixture
def page(entry: Any) -> Callable[..., Any]:
    """Make a page of two systems in the test's own folder: what ran, its page and its key."""

    def make(*overrides: str) -> tuple[Any, str, dict[str, Any]]:
        references = {f"c{i}": f"la {word} mira el sol" for i, word in enumerate("abcdefghij")}
        for system, wrong in zip(NAMES, ("luna", "mar"), strict=True):
            said = [Prediction(k, r, r if k == "c0" else r.replace("sol", wrong), 0.0) for k, r in references.items()]
            Path(system).mkdir(exist_ok=True)
            write_predictions(f"{system}/predictions.tsv", said)
        Path("zebra/report.html").write_text("\n".join(IMAGE.format(clip=clip) for clip in references))
        ran = entry("rate", *(f"+systems.{name}={name}" for name in NAMES), *overrides)
        assert ran.status == 0, ran.err
        key = json.loads((ran.folder / "key.json").read_text("utf-8"))
        return ran, (ran.folder / "rating.html").read_text("utf-8"), key

    return make


def judge(key: dict[str, Any], rater: str, *, seed: int, mild: float = 0.0, careless: bool = False) -> None:
    """Saves what a rater might have: the systems' qualities, and noise, or nothing but noise."""
    generator, ratings = random.Random(seed), []
    for number, item in enumerate(key["items"], 1):
        told = item if item["catch"] != "repeat" else key["items"][item["beside"] - 1]
        true = 10.0 if item["catch"] == "spoiled" else max(QUALITY[name] for name in told["systems"])
        value = generator.uniform(0, 100) if careless else true + mild + generator.uniform(-8, 8)
        if careless and item["catch"] == "spoiled":
            value = 100.0
        value = round(min(max(value, 0.0), 100.0))
        ratings.append({"item": number, "adequacy": value, "fluency": value, "seconds": 3.5})
    Path("sent").mkdir(exist_ok=True)
    Path(f"sent/{rater}.json").write_text(json.dumps({"page": key["page"], "rater": rater, "ratings": ratings}))


def shown(html: str) -> dict[str, Any]:
    return json.loads(html.split('type="application/json">')[1].split("</script>")[0])


def test_page_is_whole_in_itself_and_says_nothing_of_whose_translations_are_whose(page: Any) -> None:
    ran, html, key = page(*MANY)
    for word in (*NAMES, "reference", "spoiled", "repeat", "catch", str(Path.cwd().name), "c0", "c1"):
        assert f'"{word}' not in html
        assert word not in NAMES or word not in html.lower()
    assert not any(word in html for word in ("http://", "https://", "<link", 'src="/'))
    assert "default-src 'none'" in html
    assert [item["text"] for item in shown(html)["items"]] == [item["text"] for item in key["items"]]
    assert set(TEXTS["en"]) == set(TEXTS["es"])
    assert "do not send it" in ran.out


def test_key_ties_every_item_to_its_systems_and_catch_items_to_theirs(page: Any) -> None:
    items = page(*MANY)[2]["items"]
    plain = [item for item in items if not item["catch"]]
    for clip in {item["clip"] for item in items}:
        assert sorted(n for item in plain if item["clip"] == clip for n in item["systems"]) == sorted(QUALITY)
    alike = [item for item in plain if item["clip"] == "c0"]  # all say the same there
    assert [len(item["systems"]) for item in alike] in ([], [3])
    caught = [item for item in items if item["catch"]]
    assert sorted(item["catch"] for item in caught) == ["repeat"] * 3 + ["spoiled"] * 4
    for item in caught:
        beside = items[item["beside"] - 1]
        assert beside["clip"] == item["clip"]
        assert (beside["text"] == item["text"]) == (item["catch"] == "repeat")
        assert item["catch"] == "repeat" or "reference" in beside["systems"]


def test_a_seed_is_an_order(page: Any) -> None:
    pages = [page(*MANY[:3], f"seed={seed}")[2] for seed in (3, 3, 4)]
    assert pages[0] == pages[1]
    assert pages[0]["items"] != pages[2]["items"]
    assert pages[0]["page"] != pages[2]["page"]


def test_films_are_linked_from_the_page_and_clips_without_either_are_left_out(page: Any, entry: Any) -> None:
    Path("films").mkdir()
    Path("films/c3.mp4").write_bytes(b"")
    ran, html, _ = page("films=films", *MANY[1:3], "clips=10")
    links = [clip["film"] for clip in shown(html)["clips"].values()]
    assert sum(link is not None for link in links) == 1
    assert (ran.folder / next(filter(None, links))).resolve() == Path("films/c3.mp4").resolve()
    Path("zebra/report.html").unlink()
    alone = entry("rate", *(f"+systems.{name}={name}" for name in NAMES), "films=films")
    assert "only 1 clips have a film" in alone.out
    systems = [f"+systems.{name}={name}" for name in NAMES]
    assert "films=FOLDER with CLIP.mp4" in entry("rate", *systems).err


def test_ratings_come_back_as_means_places_agreement_and_attention(page: Any, entry: Any) -> None:
    key = page(*MANY)[2]
    judge(key, "ana", seed=1)
    judge(key, "bruno", seed=2, mild=-20)
    judge(key, "carla", seed=3, careless=True)
    ran = entry("rate", "read=sent", "bootstrap=200")
    assert ran.status == 0, ran.err
    found = json.loads((ran.folder / "ratings.json").read_text("utf-8"))
    assert found["kept"] == ["ana", "bruno"]
    assert "left out: carla" in ran.out
    assert (found["raters"]["ana"]["spoiled"], found["raters"]["carla"]["spoiled"]) == (1.0, 0.0)
    assert found["raters"]["ana"]["repeats"] < 16
    assert found["alpha"]["adequacy"] > 0.6
    assert list(found["systems"]) == ["reference", "zebra", "yak"]
    assert [own["place"] for own in found["systems"].values()] == [1, 2, 3]
    yak = found["systems"]["yak"]
    assert yak["raw"]["adequacy"]["low"] <= yak["raw"]["adequacy"]["value"] <= yak["raw"]["adequacy"]["high"]
    assert yak["difference"]["high"] < 0
    assert yak["difference"]["p"] < 0.05
    with (ran.folder / "ratings.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(key["items"])
    assert {row["systems"] for row in rows if row["catch"]} == {""}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"page": "other"}, "no key.json of page other"),
        ({"ratings": [{"item": 1, "adequacy": 101, "fluency": 3}]}, "from 0 to 100"),
        ({"ratings": [{"item": 99, "adequacy": 1, "fluency": 3}]}, "one of"),
    ],
)
def test_files_that_are_not_of_this_page_are_refused(page: Any, entry: Any, change: Any, said: str) -> None:
    key = page(*MANY)[2]
    Path("sent").mkdir()
    Path("sent/a.json").write_text(json.dumps({"page": key["page"], "rater": "a", "ratings": []} | change))
    ran = entry("rate", "read=sent")
    assert (ran.status, said in ran.err) == (1, True), ran.err


def test_two_files_of_one_rater_and_systems_of_other_clips_are_refused(page: Any, entry: Any) -> None:
    key = page(*MANY)[2]
    judge(key, "ana", seed=1)
    shutil.copy("sent/ana.json", "sent/ana (1).json")
    assert "both of rater 'ana'" in entry("rate", "read=sent").err
    write_predictions("yak/predictions.tsv", [Prediction("c0", "otra", "otra", 0.0)])
    assert "systems.yak=yak: of other clips" in entry("rate", *(f"+systems.{name}={name}" for name in NAMES)).err
    assert "two or more expected" in entry("rate", "+systems.zebra=zebra").err


@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no chromium and chromedriver")
def test_a_rater_rates_by_keyboard_closes_goes_on_and_sends_a_file_that_is_read(
    page: Any, entry: Any, tmp_path: Path
) -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By

    ran, _, key = page("clips=2", "repeats=0", "spoiled=0")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}/own"):
        options.add_argument(argument)
    kept = {"intl.accept_languages": "es-AR,es", "download.default_directory": str(tmp_path / "sent")}
    options.add_experimental_option("prefs", kept)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        where = (ran.folder / "rating.html").resolve().as_uri()
        browser.get(where)
        assert browser.execute_script("return document.documentElement.lang") == "es"
        assert browser.execute_script("return document.documentElement.scrollWidth") == 360
        assert axe(browser) == []
        browser.find_element(By.TAG_NAME, "body").send_keys("4", "6", "\ue007", "0")
        browser.get(where)
        assert f"Ítem 2 de {len(key['items'])}" in browser.find_element(By.ID, "place").text
        pressed = [each.text for each in browser.find_elements(By.CSS_SELECTOR, '[aria-pressed="true"]')]
        assert pressed == ["0"]
        assert axe(browser) == []
        dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
        assert axe(browser) == []
        browser.find_element(By.TAG_NAME, "body").send_keys("3")
        browser.find_element(By.ID, "name").send_keys("Ana Ñ")
        browser.find_element(By.ID, "save").click()
        end = time.monotonic() + 20
        while not (files := list((tmp_path / "sent").glob("*.json"))) and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        browser.quit()
    sent = json.loads(files[0].read_text("utf-8"))
    values = [(each["item"], each["adequacy"], each["fluency"]) for each in sent["ratings"]]
    assert (files[0].name, values) == (f"ratings-{key['page']}-Ana_Ñ.json", [(1, 67, 100), (2, 0, 50)])
    read = entry("rate", "read=sent", "bootstrap=20")
    assert read.status == 0, read.err
    assert np.isfinite(json.loads((read.folder / "ratings.json").read_text())["systems"]["reference"]["place"])
