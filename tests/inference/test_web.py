"""The page in a real browser: what is uploaded, shown, refused and deleted."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import av
import numpy as np
import pytest
from bench.landmarker_stub import StubLandmarker, write_film
from browsing import CHROMIUM, DRIVER, axe
from inference.parts import READING
from PIL import Image

from slt.corpora.elan import Elan
from slt.extraction.landmarks import LANDMARKS, Landmarks
from slt.extraction.regions import Extractor
from slt.extraction.video import probe
from slt.inference.films import translate_film
from slt.inference.live import Live
from slt.inference.onnx import Hypothesis, OnnxTranslator
from slt.inference.page.html import TEXTS
from slt.inference.session import Reading

pytest.importorskip("gradio", reason='the page needs Gradio: pip install "slt[web]"')
from slt.inference.page.server import Web, open_page
from slt.inference.page.visitors import TooLong, Visit, Visitors, refuse_long

# Gradio 6.31 sets an option, and names a keyword, that pandas 3 deprecates, in the server's threads.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]

TESTS = Path(__file__).resolve().parent.parent
TEXT = TEXTS["en"]
PATIENCE = 60.0


class Landmarker(StubLandmarker):
    """Finds the stub's person, whose arms may move, or nobody."""

    there, moves = True, False

    def find(self, seconds: float, picture: Any) -> Landmarks:
        if not self.there:
            return Landmarks(np.zeros((LANDMARKS, 3), np.float32), False)
        found = super().find(seconds, picture)
        if self.moves:
            found.points[[11, 12, 15, 16], :2] = [(0.6, 0.4), (0.4, 0.4), (0.6, 0.4), (0.4, 0.4)]
            found.points[[15, 16], 1] += 0.2 * np.sin(6 * seconds)
            found.points[[11, 12, 15, 16], 2] = 1.0
        return found


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    return Landmarker()


@pytest.fixture(scope="module")
def extractor(landmarker: Landmarker) -> Extractor:
    return Extractor(
        landmarker, crop_size=32, face_margin=1.2, hand_margin=1.4, smooth_centre=0.1, smooth_size=0.2,
        follow_visibility=0.95, follow_seconds=1.0, signer="auto", min_certainty=0.6,
    )  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> Reading:
    return replace(READING, search={"num_beams": 3, "nbest": 1}, draw=False)


@pytest.fixture(scope="module")
def page(folder: Path, extractor: Extractor, settings: Reading, tmp_path_factory: Any) -> Iterator[Page]:
    translator = OnnxTranslator(folder, threads=1)
    given = tmp_path_factory.mktemp("given")
    with served_by(translator, extractor, settings, corrections=str(given)) as served:
        yield served
    assert not served.visitors.folder.exists()


@dataclass
class Page:
    visitors: Visitors
    url: str


@contextmanager
def served_by(translator: OnnxTranslator, extractor: Extractor, settings: Reading, **where: Any) -> Iterator[Page]:
    """A page that takes 1 MiB and 3 seconds."""
    given = {"host": "127.0.0.1", "port": 0, "max_mb": 1, "max_total_mb": 8, "max_seconds": 3.0, "corrections": None}
    web = Web(**given | where)
    live = Live(partial_seconds=1.0, queue=2, headless=True, panel=False, record=None)
    visitors = web.visitors(translator, extractor, settings, live)
    with open_page(visitors, web) as blocks:
        yield Page(visitors, blocks.local_url)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="the page is tried by selenium: pip install selenium")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("the page is tried in chromium by chromedriver, and one of the two is not here")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1280,960",
                     "accept-lang=en-US", "lang=en-US", "use-fake-ui-for-media-stream",
                     "use-fake-device-for-media-stream"):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Any, page: Page) -> Iterator[Any]:
    """A browser at the fresh page; it leaves in the end."""
    chromium.get(page.url)
    wait(chromium, "#translate")
    yield chromium
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.get("about:blank")


def wait(browser: Any, selector: str, do: Callable[[Any], Any] = lambda one: one, *, label: str = "") -> Any:
    """What comes of the first element by a selector, with some words, as soon as it is there.

    One that the page draws anew in the meantime, or that is covered still, is looked for again.
    """
    from selenium.common import exceptions
    from selenium.webdriver.support.ui import WebDriverWait

    passing = (exceptions.StaleElementReferenceException, exceptions.ElementNotInteractableException,
               exceptions.ElementClickInterceptedException)  # fmt: skip

    def look(browser: Any) -> list[Any]:
        found = (one for one in browser.find_elements("css selector", selector) if label in one.text)
        return [do(one) for one in islice(found, 1)]

    return WebDriverWait(browser, PATIENCE, 0.05, ignored_exceptions=passing).until(look)[0]


def click(browser: Any, selector: str, label: str = "") -> None:
    """Click on the first element by a selector, with some words, as soon as that can be done."""
    wait(browser, selector, lambda one: one.click(), label=label)


def text(browser: Any, selector: str) -> str:
    """The words of the first element by a selector, as soon as it is there."""
    return wait(browser, selector, lambda one: one.text)


def until(true: Any) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + PATIENCE
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(true())


def upload(browser: Any, film: Path) -> None:
    wait(browser, "#film input[type=file]", lambda one: one.send_keys(str(film)))


def translate(browser: Any, film: Path) -> None:
    upload(browser, film)
    wait(browser, "#film video")
    click(browser, "#translate")


def kept(page: Page) -> list[str]:
    """The files that the page has on disk; a folder that goes meanwhile is passed over."""
    return sorted(name for _, _, names in os.walk(page.visitors.folder) for name in names)


def hosts(browser: Any) -> set[str]:
    """Whom the browser asked for anything, as its own log has it."""
    sent = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    urls = [one["params"]["request"]["url"] for one in sent if one["method"] == "Network.requestWillBeSent"]
    return {match[1] for url in urls if (match := re.match(r"\w+://([^/]+)", url))}


def test_a_film_goes_up_and_sentence_n_best_and_timeline_come_down(browser, page, extractor, settings, tmp_path):
    film = tmp_path / "mañana.mp4"
    write_film(film, count=14)
    browser.get_log("performance")
    translate(browser, film)
    wait(browser, "#slt-timeline")
    wait(browser, "#slt-player video")
    *_, own = translate_film(film, page.visitors.translator, extractor, settings=page.visitors.reading, out=None)
    (segment,) = own.segments
    assert len(segment.hypotheses) == 3
    assert text(browser, "#slt-sentences .slt-sentence") == segment.text.strip()
    rows = [[cell.text for cell in row.find_elements("css selector", "td")]
            for row in browser.find_elements("css selector", "#slt-nbest tbody tr")]  # fmt: skip
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [row[2] for row in rows] == [f"{one.score:.3f}".replace("-", "−") for one in segment.hypotheses]
    for row, one in zip(rows, segment.hypotheses, strict=True):
        assert " ".join(row[1].split()) == " ".join(one.text.split())
    for name, marks in own.seen.items():
        bars = browser.find_elements("css selector", f'#slt-timeline [data-stream="{name}"] [data-mark]')
        assert {int(bar.get_attribute("data-mark")) for bar in bars} == set(marks.tolist())
    assert "right hand 0%" in wait(browser, "#slt-timeline svg", lambda one: one.get_attribute("aria-label"))
    # Film and result are there for as long as the page is open, and nobody else was told.
    assert kept(page) == ["mañana.eaf", "mañana.mp4", "mañana.mp4", "mañana.srt", "mañana.vtt"]
    assert hosts(browser) == {page.url.split("/")[2]}
    browser.save_screenshot(str(tmp_path / "page.png"))
    with Image.open(tmp_path / "page.png") as shot:
        assert shot.width == 1280
        assert len(shot.convert("RGB").getcolors(1 << 24)) > 50
    with urllib.request.urlopen(wait(browser, "#slt-player a#mp4", lambda one: one.get_attribute("href"))) as answer:
        assert answer.read(12)[4:8] == b"ftyp"
    browser.get("about:blank")
    assert until(lambda: not kept(page)), kept(page)


def test_a_film_that_is_too_long_is_refused_on_the_page(browser, page, tmp_path):
    write_film(tmp_path / "long.mp4", count=40)
    translate(browser, tmp_path / "long.mp4")
    assert text(browser, "#slt-message") == TEXT["too_long"].format(name="long.mp4", limit=3)
    assert until(lambda: not kept(page)), kept(page)


def test_what_is_no_film_is_refused_on_the_page(browser, page, tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"this is no film" * 100)
    translate(browser, tmp_path / "no.mp4")
    assert text(browser, "#slt-message") == TEXT["not_a_film"].format(name="no.mp4")
    assert until(lambda: not kept(page)), kept(page)


def test_a_film_that_is_too_large_is_refused_on_the_page(browser, page, tmp_path):
    (tmp_path / "large.mp4").write_bytes(bytes(2**20 + 1))
    upload(browser, tmp_path / "large.mp4")
    wait(browser, ".toast-body")
    # Its words come a moment after it.
    assert until(lambda: "exceed the maximum allowed size" in text(browser, "body")), text(browser, "body")
    assert until(lambda: not kept(page)), kept(page)


def test_a_film_in_which_nobody_is_found_is_said_on_the_page(browser, page, landmarker, monkeypatch, tmp_path):
    monkeypatch.setattr(landmarker, "there", False, raising=False)
    write_film(tmp_path / "empty.avi")
    translate(browser, tmp_path / "empty.avi")
    assert text(browser, "#slt-message") == TEXT["nobody"].format(name="empty.avi")


def test_no_film_is_asked_for(browser):
    click(browser, "#translate")
    assert text(browser, "#slt-message") == TEXT["no_film"]


def test_what_was_not_understood_is_chosen_written_and_kept_on_consent_alone(browser, page, monkeypatch, tmp_path):
    unsure(page, monkeypatch)
    narrow(browser)
    faults = axe(browser)
    (tmp_path / "no.mp4").write_bytes(b"this is no film" * 100)
    translate(browser, tmp_path / "no.mp4")
    wait(browser, "#slt-message")
    faults += axe(browser)
    # After one that failed another film is taken, in the same visit.
    write_film(tmp_path / "hola.mp4", count=14)
    translate(browser, tmp_path / "hola.mp4")
    wait(browser, "#slt-timeline")
    assert until(lambda: cues(browser) == ["[Not understood] uno / dos"])
    assert text(browser, "#slt-sentences .slt-sentence") == TEXT["not_understood"]
    faults += axe(browser)
    assert (faults, browser.execute_script("return document.documentElement.scrollWidth")) == ([], 360)
    sentence, film = (wait(browser, place, lambda one: one.rect["y"]) for place in ("#slt-sentences", "#slt-player"))
    assert sentence < min(film, 300)
    click(browser, ".slt-choice", "dos")
    assert until(lambda: text(browser, "#slt-sentences .slt-sentence") == "dos")
    assert until(lambda: cues(browser) == ["dos"])
    given = page.visitors.corrections.folder
    assert [path.name for path in given.iterdir()] in ([], ["corrections.csv"])
    wait(browser, "#slt-form textarea", lambda one: (one.clear(), one.send_keys("tres & <cuatro>")))
    for box in ("consent", "film"):
        click(browser, f"#slt-form [name={box}]")
    click(browser, "#slt-form button")
    assert until(lambda: text(browser, "#slt-applied") == TEXT["kept"])
    assert cues(browser) == ["tres &amp; &lt;cuatro&gt;"]
    (row,) = Elan(given, tier="captions", gloss_tier=None).read("train")
    table = list(csv.DictReader((given / "corrections.csv").read_text("utf-8").splitlines(), delimiter=";"))
    assert [(one["id"], one["text"], one["signer"], one["translated"], one["consent"]) for one in table] == [
        (row.id, row.text, "", "uno", "captions and film")
    ]
    assert row.text == "tres & <cuatro>"
    assert (given / f"{row.columns['film']}.mp4").read_bytes() == (tmp_path / "hola.mp4").read_bytes()
    click(browser, "#slt-form [name=consent]")
    click(browser, "#slt-form button")
    assert until(lambda: [path.name for path in given.iterdir()] == ["corrections.csv"])


def unsure(page: Page, monkeypatch: Any) -> None:
    """Let the page translate into two sentences that it is not sure of."""
    found = [[Hypothesis("uno", -0.1, (1,), 0.2), Hypothesis("dos", -0.2, (2,))]]
    monkeypatch.setattr(page.visitors.translator, "write", lambda *_, **__: found)
    monkeypatch.setattr(page.visitors, "reading", replace(page.visitors.reading, abstain=0.5))


def narrow(browser: Any) -> None:
    """A window as wide as a small telephone's."""
    size = {"width": 360, "height": 780, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def cues(browser: Any) -> list[str]:
    """The captions of the film as the browser has them."""
    found = browser.execute_script(
        "return [...(document.querySelector('#slt-player video')?.textTracks[0].cues ?? [])].map((one) => one.text)"
    )
    return [" ".join(line.split()) for line in found]


def test_that_the_server_is_gone_and_that_it_is_another_is_said(chromium, folder, extractor, settings):
    translator = OnnxTranslator(folder, threads=1)
    with served_by(translator, extractor, settings) as page:
        chromium.get(page.url)
        wait(chromium, "#translate")
        assert until(lambda: chromium.execute_script("return performance.getEntriesByType('resource').some("
                                                     "(one) => one.name.endsWith('slt/there'))"))  # fmt: skip
    assert text(chromium, "#slt-server[data-state=server_gone]") == TEXT["server_gone"]
    with served_by(translator, extractor, settings, port=int(page.url.split(":")[-1].strip("/"))):
        assert text(chromium, "#slt-server[data-state=server_new] button") == TEXT["reload"]
        click(chromium, "#slt-server button")
        assert until(lambda: not chromium.find_elements("css selector", "#slt-server:not([hidden])"))
        chromium.get("about:blank")


def test_a_camera_is_translated_while_it_runs_and_after_it_stopped(browser, page, landmarker, monkeypatch):
    monkeypatch.setattr(landmarker, "moves", True)
    click(browser, "button[role=tab]", "Live")
    for label in ("Click to Access Webcam", "Record"):
        click(browser, "#camera button", label)
    assert until(lambda: browser.find_elements("css selector", "#slt-live .slt-partial"))
    assert until(lambda: browser.find_elements("css selector", "#live-picture img[src^='data:image/jpeg']"))
    assert len(page.visitors.line) == 1
    click(browser, "#camera button", "Stop")
    # Nobody asks for pictures any more, and still the last word comes, and the extractor is free for others.
    assert until(lambda: not len(page.visitors.line))
    assert until(lambda: browser.find_elements("css selector", "#slt-live .slt-sentence:not(.slt-partial)"))
    (live,) = page.visitors.cameras.values()
    assert live.error is None
    last = live.captions[-1].text.split()
    assert until(lambda: text(browser, "#slt-live .slt-sentence").split() == last)
    assert kept(page) == []
    browser.get("about:blank")
    assert until(lambda: not page.visitors.cameras)


def test_a_server_does_not_take_what_is_too_large_or_was_never_uploaded(page, tmp_path):
    # Past the browser's own check, as anybody can who reaches the port.
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n' + bytes(2**20 + 1)
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(page, "upload", body + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")
    assert refused.value.code == 413
    refused.value.close()
    assert kept(page) == []
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(page, f"file={secret}", None, "text/plain")
    assert refused.value.code == 403
    refused.value.close()
    list(page.visitors.translate(str(secret), "somebody", "en"))
    assert secret.read_text() == "secret"
    data = {"data": [{"path": str(secret), "meta": {"_type": "gradio.FileData"}}], "fn_index": 0, "session_hash": "x"}
    ask(page, "queue/join", json.dumps(data).encode(), "application/json")
    with urllib.request.urlopen(f"{page.url}gradio_api/queue/data?session_hash=x", timeout=PATIENCE) as answer:
        assert b"was not uploaded by a user" in answer.read()
    assert kept(page) == []


def test_an_upload_makes_the_oldest_go_and_not_what_is_at_work(page, monkeypatch):
    monkeypatch.setattr(page.visitors, "max_total", 2**20)
    old, busy = page.visitors.folder / "old.mp4", page.visitors.folder / "film-busy"
    busy.mkdir()
    for n, path in enumerate((busy / "film.mp4", old)):
        path.write_bytes(bytes(400_000))
        os.utime(path, (n, n))
    os.utime(busy, (0, 0))
    monkeypatch.setitem(page.visitors._visits, "busy", Visit(busy, busy / "film.mp4"))
    sent = b'--x\r\nContent-Disposition: form-data; name="files"; filename="new.mp4"\r\n\r\n' + bytes(400_000)
    ask(page, "upload", sent + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")
    assert kept(page) == ["film.mp4", "new.mp4"]
    monkeypatch.setattr(page.visitors, "max_total", 500_000)
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(page, "upload", sent + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")
    assert refused.value.code == 507
    refused.value.close()
    assert kept(page) == ["film.mp4"]
    shutil.rmtree(busy)


@pytest.mark.parametrize(("sent", "code"), [(b"{}", 400), (b'{"key": "k", "words": [], "consent": 1, "film": 1}', 404)])
def test_a_correction_by_who_has_no_result_is_refused(page, sent, code):
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(page, "../slt/correct", sent, "application/json")
    assert refused.value.code == code
    refused.value.close()


def test_all_uploads_have_no_less_room_than_one():
    with pytest.raises(ValueError, match=r"web\.max_total_mb=1: .* web\.max_mb=2"):
        Web(host="127.0.0.1", port=0, max_mb=2, max_total_mb=1, max_seconds=1.0, corrections=None)


def ask(page: Page, route: str, body: bytes | None, kind: str, host: str | None = None) -> bytes:
    """What the server answers to a request without a browser."""
    headers = {"Content-Type": kind} | ({} if host is None else {"Host": host})
    request = urllib.request.Request(urljoin(f"{page.url}gradio_api/", route), body, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read()


def test_it_listens_on_the_loopback_address_only(page):
    port = int(page.url.split(":")[-1].strip("/"))
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connected:
        assert connected.getpeername()[0] == "127.0.0.1"
    # Another of this machine's addresses: who listens on all of them answers here too.
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=5):
        pass


def test_another_sites_name_for_this_machine_is_not_answered(page):
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(page, "info", None, "text/plain", host="evil.example")
    assert refused.value.code == 400
    refused.value.close()


def test_one_film_at_a_time_and_the_other_is_told_its_place(page, tmp_path):
    film = page.visitors.folder / "waits.mp4"
    write_film(film)
    changes = page.visitors.translate(str(film), "second", "es")
    told = TEXTS["es"]["queue"].format(place=1, waiting=1)
    with page.visitors.line.place():
        assert any(told in str(next(changes).get("status")) for _ in range(8))
    assert any("slt-timeline" in str(one.get("timeline")) for one in changes)
    page.visitors.forget("second")
    assert kept(page) == []


def test_who_leaves_in_the_middle_stops_the_work_and_leaves_nothing(page, landmarker, monkeypatch):
    monkeypatch.setattr(landmarker, "pause", 0.05)
    film = page.visitors.folder / "leaves.mp4"
    write_film(film, count=28)
    changes = page.visitors.translate(str(film), "leaver", "en")
    begun = next(one for one in changes if "<progress max" in str(one.get("status")))
    assert "leaves.mp4" in begun["status"]
    page.visitors.forget("leaver")
    assert all("timeline" not in one or not one["timeline"] for one in changes)
    assert until(lambda: not any(page.visitors.folder.iterdir()))


def test_what_is_our_fault_is_said_without_a_traceback(page, extractor, monkeypatch, caplog):
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("inner words")

    monkeypatch.setattr(extractor, "find_signer", fail)
    film = page.visitors.folder / "breaks.mp4"
    write_film(film)
    *_, last = page.visitors.translate(str(film), "third", "en")
    assert TEXT["ours"].format(name="breaks.mp4") in last["status"]
    assert "inner words" not in str(last)
    assert "ZeroDivisionError" in caplog.text
    assert kept(page) == []


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_it_serves_the_other_loopback_address_too(folder, extractor, settings):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    translator = OnnxTranslator(folder, threads=1)
    with served_by(translator, extractor, settings, host="::1") as page:
        assert page.url.startswith("http://[::1]:")
        with urllib.request.urlopen(page.url, timeout=PATIENCE) as answer:
            assert answer.status == 200


def test_a_recording_that_says_no_length_is_measured(tmp_path):
    write_stream(tmp_path / "recorded.webm", count=30)
    film = probe(tmp_path / "recorded.webm")
    assert film.duration is None
    refuse_long(film, 3.5)
    with pytest.raises(TooLong):
        refuse_long(film, 2.0)


def write_stream(path: Path, *, count: int) -> None:
    """Write what a browser's recorder does: a Matroska stream with neither length nor index, at 10 frames/s."""
    with av.open(str(path), "w", format="webm", options={"live": "1"}) as container:
        stream = container.add_stream("vp8", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(count):
            picture = np.full((48, 64, 3), 40 + 5 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def test_a_port_that_is_taken_is_named(folder, extractor, settings):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        page = served_by(OnnxTranslator(folder, threads=1), extractor, settings, port=port)
        with pytest.raises(OSError, match=rf"web\.port={port}: cannot listen"), page:
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl+C"])
def test_the_command_serves_and_ends_cleanly(folder, tmp_path, number):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [
        sys.executable, "-m", "slt.demo", f"model={folder}", "ui=web", f"web.port={port}", "other_extractor=true",
        "landmarker._target_=bench.landmarker_stub.StubLandmarker",
    ]  # fmt: skip
    # Gradio asks its own server whether it is there, and no proxy.
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "TMPDIR": str(temporary),
                                "HTTP_PROXY": "http://127.0.0.1:9"}  # fmt: skip
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
        # Tests that a script started in the background have Ctrl+C ignored, and hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as served:  # fmt: skip
        try:
            said = iter(served.stdout.readline, "")
            assert any(f"open http://127.0.0.1:{port}/" in line for line in said)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as answer:
                assert b"gradio" in answer.read()
            assert [path.name[:8] for path in temporary.glob("slt-web-*")] == ["slt-web-"]
            served.send_signal(number)
            rest = served.stdout.read()
            assert served.wait(PATIENCE) == 0, rest
            assert "Traceback" not in rest
        finally:
            served.kill()
    assert list(temporary.glob("slt-web-*")) == []


def test_without_gradio_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "slt.inference.page.server")
    with pytest.raises(ModuleNotFoundError, match=r'pip install "slt\[web\]"'):
        __import__("slt.inference.page.server")
