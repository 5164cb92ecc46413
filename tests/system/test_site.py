"""The site in a real browser: nothing broken, nothing from outside, wide and on a phone."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from axe_selenium_python import Axe
from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

from paperlib.names import notebooks
from paperlib.paths import ROOT

WIDTHS = (390, 1280)
AXE = ["index", "scorecard", "docs/claims", f"notebooks/{notebooks()[0]}", "api/paperlib.data"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built as ./run_all.sh site does."""
    outputs = tmp_path_factory.mktemp("outputs")
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(outputs / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")  # no warning either
    return outputs / "site"


BUILD = """
import sys
from pathlib import Path
from paperlib.runs import site
raise SystemExit(site.build(Path(sys.argv[1])))
"""


@pytest.fixture(scope="module", params=WIDTHS)
def browser(request):
    """A headless Chromium of this width that keeps what it logs and asks for."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    screen = {"width": request.param, "height": 800, "deviceScaleFactor": 1}
    screen["mobile"] = request.param < 600
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    yield driver
    driver.quit()


class Links(HTMLParser):
    """What a page links and shows, its ids, and its pictures without a text."""

    def __init__(self, page):
        super().__init__()
        self.links, self.ids, self.without_text, self.level = [], set(), [], 0
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found[name] for name in ("href", "src") if found.get(name)]
        self.ids.add(found.get("id"))
        if tag == "img" and not found.get("alt"):
            self.without_text.append(found.get("src"))


@pytest.fixture(scope="module")
def read(site):
    """Every page of the site, read."""
    return {page: Links(page) for page in site.rglob("*.html")}


def test_every_link_leads_to_a_file_and_a_place_in_it(site, read):
    assert len(read) > 60
    wrong = []
    for page, found in read.items():
        for link in found.links:
            if link.startswith(("https:", "http:", "data:", "mailto:", "javascript:")):
                continue
            address, _, anchor = unquote(link).partition("#")
            target = (page.parent / address.partition("?")[0]).resolve() if address else page
            lost = not target.is_file() or (
                anchor and target in read and anchor not in read[target].ids
            )
            if lost:
                wrong.append(f"{page.relative_to(site)}: {link}")
    assert wrong == []


def test_every_picture_has_a_text(read):
    assert [name for found in read.values() for name in found.without_text] == []


def visit(browser, page):
    """Open a page; returns what it logged as an error and what it asked for outside."""
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(page.as_uri())
    WebDriverWait(browser, 60).until(
        lambda driver: driver.execute_script(
            # colours that change while a page opens (the theme's buttons do) are at their end
            "return document.readyState === 'complete' && !document.getAnimations().length"
        )
    )
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        message["params"]["request"]["url"]
        for message in sent
        if message["method"] == "Network.requestWillBeSent"
    ]
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    return errors, [url for url in asked if not url.startswith(("file:", "data:"))]


BROKEN = (
    "return [...document.images].filter((i) => !i.complete || !i.naturalWidth).map((i) => i.src)"
)
LAZY = "for (const i of document.images) i.loading = 'eager'"


def test_no_page_has_an_error_asks_outside_or_scrolls_sideways(site, read, browser):
    wrong = []
    for page in sorted(read):
        if "_modules" in page.parts:
            continue
        errors, outside = visit(browser, page)
        browser.execute_script(LAZY)
        WebDriverWait(browser, 60).until(
            lambda driver: driver.execute_script("return [...document.images].every(i=>i.complete)")
        )
        broken = browser.execute_script(BROKEN)
        wide = browser.execute_script("return document.documentElement.scrollWidth > innerWidth")
        if errors or outside or broken or wide:
            wrong.append((str(page.relative_to(site)), errors, outside, broken, wide))
    assert wrong == []


def test_equations_are_set(site, browser):
    visit(browser, site / "notebooks" / "04_robustness.html")
    WebDriverWait(browser, 60).until(
        lambda driver: driver.execute_script("return document.querySelector('mjx-container svg')")
    )


def test_the_scorecard_filters_and_leads_to_cells_and_values(site, browser):
    visit(browser, site / "scorecard.html")
    shown = "return [...document.querySelectorAll('tbody tr')].filter((r) => r.offsetHeight)"
    every = browser.execute_script(f"{shown}.length")
    choose = "const s = document.getElementById('{}'); s.value = '{}';"
    choose += "s.dispatchEvent(new Event('change'));"
    browser.execute_script(choose.format("paper", "PED-SAM"))
    papers = browser.execute_script(f"{shown}.map((row) => row.dataset.paper)")
    assert 0 < len(papers) < every
    assert set(papers) == {"PED-SAM"}
    browser.execute_script(choose.format("status", "disagrees"))
    words = browser.execute_script(f"{shown}.map((row) => row.cells[1].innerText)")
    assert all("disagrees" in word for word in words)
    browser.execute_script(choose.format("status", ""))
    browser.execute_script(choose.format("paper", ""))
    assert browser.execute_script(f"{shown}.length") == every
    links = browser.execute_script(
        "return [...document.querySelectorAll('tbody a')].map(a=>a.href)"
    )
    assert sum("/notebooks/" in link for link in links) == every
    assert sum("#claim-" in link for link in links) > every / 2
    assert sum("/figures/default/" in link for link in links) > every / 2
    sides = "return [0, 1].map((n) => document.querySelector('tbody tr').cells[n])"
    right = browser.execute_script(f"{sides}.map((cell) => cell.getBoundingClientRect().right)")
    assert max(right) <= browser.execute_script("return innerWidth")


def test_search_previous_next_and_dark_mode_work(site, browser):
    visit(browser, site / "search.html")
    browser.get(f"{(site / 'search.html').as_uri()}?q=occlusion")
    WebDriverWait(browser, 60).until(
        lambda driver: driver.execute_script(
            "return document.querySelector('#search-results li a')"
        )
    )
    visit(browser, site / "notebooks" / "02_rct.html")
    for name, other in (("left-prev", "01_spectrum"), ("right-next", "03_occlusion")):
        link = browser.execute_script(f"return document.querySelector('a.{name}').href")
        assert link.endswith(f"{other}.html")
    background = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(background)
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    visit(browser, site / "notebooks" / "02_rct.html")
    assert browser.execute_script(background) != light
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("name", AXE)
def test_axe_finds_nothing_serious(site, browser, name):
    visit(browser, Path(site) / f"{name}.html")
    axe = Axe(browser)
    axe.inject()
    found = axe.run()["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["failureSummary"]) for one in serious] == []


EDGES = """
const tables = [...document.querySelectorAll('article table')];
const claims = tables.filter((table) => table.rows[0].cells[1].innerText === 'status');
return [
  tables[1].getBoundingClientRect().bottom - innerHeight,
  ...claims.map((table) => table.rows[0].cells[1].getBoundingClientRect().right - innerWidth),
];
"""


def test_the_first_page_shows_what_matters_without_scrolling(site, browser):
    """On a desk every paper's tally; on a phone the status beside each claim."""
    visit(browser, site / "index.html")
    below, *outside = browser.execute_script(EDGES)
    assert len(outside) == 3 and max(outside) <= 0
    if browser.execute_script("return innerWidth") > 600:
        assert below <= 0
