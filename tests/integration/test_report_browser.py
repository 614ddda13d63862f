"""The report's page in a real browser: it is drawn, without errors and without asking for anything else."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture as fixture

from qat8.report import render_html
from qat8.results import Check

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is missing: apt-get install -y chromium brings it"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    failed = [Check(check="turbo", ok=False, detail="on")]
    failed.append(Check(check="load elsewhere", ok=False, detail="30 %", level="warning"))
    path.write_text(render_html(fixture.make_results(quick=True, validity=failed), None, [fixture.make_profile()]))
    return path


def _browse(page, tmp_path, *flags):
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_the_browser_sees_every_table_and_no_console_error(page, tmp_path):
    seen = _browse(page, tmp_path, "--enable-logging=stderr", "--dump-dom")
    assert seen.stdout.count("<table") == page.read_text().count("<table") >= 11
    assert "2.9 times faster" in seen.stdout
    # The browser's own complaints about D-Bus and the like do not name the page's console.
    assert [line for line in seen.stderr.splitlines() if "CONSOLE" in line] == []


def test_the_browser_asks_for_nothing_but_the_page(page, tmp_path):
    log = tmp_path / "net.json"
    _browse(page, tmp_path, f"--log-net-log={log}", "--dump-dom")
    asked = set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text()))
    # The browser has errands of its own at its maker's.
    assert {url for url in asked if "google" not in url} == set()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_itself_never_scrolls_sideways(page, tmp_path, width):
    """Wide tables scroll in their own containers; the page fits, which a frame of that width tells by its title."""
    probe = tmp_path / "probe.html"
    probe.write_text(
        f'<iframe id="f" src="{page.as_uri()}" style="width:{width}px;height:800px;border:0"></iframe>'
        "<script>f.onload = () => { const d = f.contentDocument.documentElement;"
        "document.title = d.scrollWidth + ' in ' + d.clientWidth; }</script>"
    )
    seen = _browse(probe, tmp_path, "--allow-file-access-from-files", "--virtual-time-budget=3000", "--dump-dom")
    needed, given = map(int, re.search(r"<title>(\d+) in (\d+)</title>", seen.stdout).groups())
    assert given == width
    assert needed <= given


@pytest.mark.parametrize(("name", "flags"), [("light", []), ("dark", ["--blink-settings=preferredColorScheme=0"])])
def test_the_page_is_drawn_in_the_readers_colours(page, tmp_path, name, flags):
    from PIL import Image

    shot = tmp_path / f"{name}.png"
    _browse(page, tmp_path, "--window-size=1280,1600", f"--screenshot={shot}", *flags)
    image = Image.open(shot).convert("L")
    corner = image.getpixel((2, 2))
    assert corner > 240 if name == "light" else corner < 40
    assert len(image.getcolors()) > 50  # not an empty page
    assert os.path.getsize(shot) > 50_000


SECTIONS = ("speed", "latency", "operators", "accuracy", "testers", "validity", "environment", "reproduce")


def _asked(page, tmp_path, script: str, *flags: str) -> str:
    """What a script says of the page, loaded in a frame of 1280 pixels."""
    probe = tmp_path / "probe.html"
    probe.write_text(
        f'<iframe id="f" src="{page.as_uri()}" style="width:1280px;height:800px;border:0"></iframe>'
        f"<script>f.onload = () => {{ const d = f.contentDocument; document.title = {script}; }}</script>"
    )
    common = ("--allow-file-access-from-files", "--virtual-time-budget=3000", "--dump-dom")
    seen = _browse(probe, tmp_path, *common, *flags)
    return re.search(r"<title>(.*?)</title>", seen.stdout)[1]


def test_every_section_is_there_and_the_menu_leads_to_each(page, tmp_path):
    script = "[...d.querySelectorAll('nav a')].map(a => d.querySelector(a.getAttribute('href')).id).join(' ')"
    assert tuple(_asked(page, tmp_path, script).split()) == SECTIONS


def test_every_picture_has_a_text_alternative_and_every_table_a_caption_and_head_cells(page, tmp_path):
    script = (
        "[...d.querySelectorAll('figure')].every(f => f.getAttribute('aria-label').length > 60) + ' ' +"
        "[...d.querySelectorAll('table')].every(t => d.getElementById(t.getAttribute('aria-labelledby')).textContent"
        " && t.querySelectorAll('thead th[scope=col]').length && t.querySelectorAll('tbody th[scope=row]').length)"
    )
    assert _asked(page, tmp_path, script) == "true true"


def test_the_three_plots_are_drawn_in_the_wide_form_on_a_wide_page(page, tmp_path):
    shown = "[...d.querySelectorAll('figure')].filter(f => f.getBoundingClientRect().width > 600)"
    script = f"{shown}.map(f => f.className + Math.sign(f.querySelectorAll('path').length)).join(' ')"
    assert _asked(page, tmp_path, script) == "wide1 wide1 wide1"


def test_the_page_prints_to_a_pdf_with_all_its_text(page, tmp_path):
    target = tmp_path / "report.pdf"
    _browse(page, tmp_path, f"--print-to-pdf={target}", "--no-pdf-header-footer")
    content = target.read_bytes()
    assert content.startswith(b"%PDF") and 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 30
