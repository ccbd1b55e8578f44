"""A report's page: what its HTML holds, and how it behaves in a real browser."""

import html.parser
import re
from pathlib import Path

import chromium
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hyperlab.report.page import Page

PHONE = {"width": 375, "height": 700}
TABLE = pd.DataFrame(
    {
        "arm": ["b", "a10", "a9", "c"],
        "accuracy": ["0.91 ± 0.02", "-", "-0.5 [-1, 0]", "1,200"],
        "started": ["2026-11-02", "2025-01-30", "2026-01-01", "2026-11-03"],
        "why": ["short", "a sentence that is longer than forty letters, so it may wrap", "", "x" * 60],
    }
)


def page_in(folder: Path) -> Path:
    """A page with all that reports have: long words, wide tables, hostile text."""
    Image.fromarray(np.full((900, 1600, 3), 255, np.uint8)).save(folder / "figure.png")
    page = Page("Does it <work>, and for whom?")
    page.paragraph("Some setting, and a_name_that_has_no_place_to_break_" * 3, "lead")
    page.heading("Arms")
    page.table(TABLE, "A note.")
    page.table(pd.DataFrame([{f"a wide column {n}": f"{n / 7:.12f}" for n in range(30)}]))
    page.figure(folder / "figure.png", 'A "figure" <b>')
    page.paragraph('<img src="http://example.org/x.png"><script>window.hurt = 1</script>')
    page.code("python -m experiments.stability --config.arms=" + "x" * 300)
    page.findings(["It does: +0.1 [0.0, 0.2]."])
    return page.write(folder / "report.html")


class Reader(html.parser.HTMLParser):
    """Tags in order, and those that are open at the end."""

    def __init__(self):
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.fast
def test_the_verdict_is_said_first_whenever_it_is_added():
    page = Page("Does it?")
    page.findings(["Because."])
    page.paragraph("Setting.")
    assert 'verdict">' not in page.html() and "description" not in page.html()
    page.verdict('It does <not> "work".')
    text = page.html()
    told = "It does &lt;not&gt; &quot;work&quot;."
    assert f'<meta name="description" content="{told}">' in text
    places = [text.index(part) for part in ("<h1>", f'<p class="verdict">{told}</p>', "Because.", "Setting.")]
    assert places == sorted(places)


@pytest.mark.fast
def test_the_file_is_well_formed_self_contained_and_escaped(tmp_path):
    text = page_in(tmp_path).read_text()
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert len(images) == 1 and images[0]["alt"] == 'A "figure" <b>'
    assert images[0]["src"].startswith("data:image/png;base64,")
    assert not any(tag in ("link", "iframe") or "http" in str(attributes.get("src")) for tag, attributes in reader.tags)
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert "<title>Does it &lt;work&gt;, and for whom?</title>" in text
    assert "<th>accuracy</th>" in text and re.search(r"<td>0.91 ± 0.02</td>", text)


@pytest.mark.fast
def test_what_came_out_follows_the_question(tmp_path):
    text = page_in(tmp_path).read_text()
    assert text.index("<h1>") < text.index("It does:") < text.index("Some setting")


# -- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    if chromium.find() is None:
        pytest.skip("no chromium is installed (Debian: apt-get install chromium)")
    with chromium.Chromium() as running:
        yield running


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return page_in(tmp_path_factory.mktemp("page"))


def column(browser, place):
    return browser.run(
        f"[...document.querySelectorAll('table')[0].tBodies[0].rows].map(r => r.cells[{place}].textContent)"
    )


def test_nothing_is_fetched_and_nothing_of_the_text_runs(browser, report):
    browser.open(report)
    assert browser.run("typeof window.hurt") == "undefined"
    assert [url for url in browser.requests if not url.startswith("data:")] == []
    for ask, directive in (("new Image().src = 'http://127.0.0.1:9/x.png'", "img-src"),
                           ("fetch('http://127.0.0.1:9/').catch(() => {})", "connect-src")):  # fmt: skip
        refused = "addEventListener('securitypolicyviolation', e => done(e.effectiveDirective), {once: true})"
        assert browser.run(f"new Promise(done => {{ {refused}; {ask}; }})") == directive


def test_a_click_on_a_head_sorts_by_the_numbers_and_a_third_one_restores(browser, report):
    browser.open(report)
    written = TABLE["accuracy"].tolist()
    for expected, way in (
        (["-0.5 [-1, 0]", "0.91 ± 0.02", "1,200", "-"], "ascending"),
        (["1,200", "0.91 ± 0.02", "-0.5 [-1, 0]", "-"], "descending"),
        (written, None),
    ):
        browser.click("th button", 1)
        assert column(browser, 1) == expected
        assert browser.run("document.querySelectorAll('th')[1].getAttribute('aria-sort')") == way


def test_text_and_dates_are_sorted_as_such(browser, report):
    browser.open(report)
    browser.click("th button", 0)
    assert column(browser, 0) == ["a9", "a10", "b", "c"]
    browser.click("th button", 2)
    assert column(browser, 2) == sorted(TABLE["started"])
    assert browser.run("document.querySelectorAll('th[aria-sort]').length") == 1


def test_a_head_is_reached_and_pressed_without_a_mouse(browser, report):
    browser.open(report)
    browser.run("document.querySelectorAll('th button')[0].focus()")
    browser.press("Enter")
    assert column(browser, 0) == ["a9", "a10", "b", "c"]


@pytest.mark.parametrize("open_by", ["click", "Enter"])
def test_a_figure_is_enlarged_and_closed_again(browser, report, open_by):
    browser.open(report, width=900, height=600)
    before = browser.run("document.querySelector('figure img').clientWidth")
    if open_by == "click":
        browser.click("figure img")
    else:
        browser.run("document.querySelector('figure img').focus()")
        browser.press("Enter")
    assert browser.run("document.querySelector('dialog').open")
    assert before < 900 and browser.run("document.querySelector('dialog img').clientWidth") == 1600
    assert browser.run("document.querySelector('dialog img').alt") == 'A "figure" <b>'
    browser.click("dialog") if open_by == "click" else browser.press("Escape")
    assert not browser.run("document.querySelector('dialog').open")


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_have_contrast_and_figures_stay_on_white(browser, report, dark):
    browser.open(report, dark=dark)

    def luminance(selector, what):
        colour = browser.run(f"getComputedStyle(document.querySelector('{selector}')).{what}")
        parts = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    paper = luminance("body", "backgroundColor")
    assert paper < 0.05 if dark else paper > 0.95
    for selector in ("body", ".note", "figcaption", "h1", "td"):
        text = luminance(selector, "color")
        ratio = (max(text, paper) + 0.05) / (min(text, paper) + 0.05)
        assert ratio >= 4.5, f"{selector}: {ratio:.1f}"  # WCAG 2.2, level AA
    assert luminance("figure img", "backgroundColor") == pytest.approx(1.0)


@pytest.mark.parametrize("script", [True, False])
def test_a_phone_shows_it_without_sideways_scrolling(browser, report, script):
    browser.open(report, **PHONE, script=script)
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.run("document.documentElement.scrollWidth") <= 375
    assert browser.run("document.querySelectorAll('.wide')[1].scrollWidth") > 375  # the table itself scrolls
    assert browser.run("document.querySelector('figure img').clientWidth") <= 375
    assert browser.run("parseFloat(getComputedStyle(document.body).fontSize)") >= 16


@pytest.mark.parametrize("size", [{}, PHONE])
def test_question_and_finding_are_on_the_first_screen(browser, report, size):
    browser.open(report, **size)
    bottom = browser.run("document.querySelector('.finding').getBoundingClientRect().bottom")
    assert 0 < bottom <= browser.run("innerHeight")


def test_without_scripts_everything_is_there_to_read(browser, report):
    browser.open(report, script=False)
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert column(browser, 1) == TABLE["accuracy"].tolist()
    assert browser.run("document.querySelectorAll('th button, dialog, [role=button]').length") == 0


def test_what_is_wide_has_the_window_and_what_is_narrow_the_column(browser, tmp_path):
    page = Page("Does it?")
    page.table(pd.DataFrame([{"arm": "a", "dice": "0.91 ± 0.02"}]))
    page.table(pd.DataFrame([{f"column {n}": "0.1234 ± 0.0123" for n in range(10)}]))
    page.table(pd.DataFrame([{f"column {n}": "0.1234 [0.01, 0.3]" for n in range(40)}]))
    Image.fromarray(np.full((300, 1300, 3), 255, np.uint8)).save(tmp_path / "wide.png")
    page.figure(tmp_path / "wide.png", "A caption. " * 40)
    browser.open(page.write(tmp_path / "report.html"), width=1800)
    boxes = browser.run(
        "[...document.querySelectorAll('.wide table, .wide, figure img, figcaption, h1')]"
        ".map(e => e.getBoundingClientRect()).map(r => [r.left, r.right])"
    )
    head, box, narrow, wide, _, widest, table, image, caption = boxes
    assert box[0] == narrow[0] == head[0] and narrow[1] < head[1]
    middle = sum(head) / 2
    assert wide[0] < head[0] and wide[1] > head[1] and sum(wide) / 2 == pytest.approx(middle, abs=1)
    assert 0 < widest[0] < 40 and widest[1] < 1800 < table[1], "the widest scrolls inside"
    assert image[1] - image[0] == 1300 and sum(image) / 2 == pytest.approx(middle, abs=1)
    assert caption[1] - caption[0] <= 62 * 16
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def test_no_line_ends_inside_a_number_and_its_spread(browser, tmp_path):
    told = "rates 0.003: 0.612 ± 0.045, 0.01: 0.734 [0.7, 0.8], 0.03: -0.5 [-1e-05, 0] and <more> of it. "
    page = Page("Does it?")
    page.table(pd.DataFrame([{"arm": "a", "told": told * 3, "short": "0.734 [0.7, 0.8]"}]))
    page.table(pd.DataFrame(), "A note.")
    browser.open(page.write(tmp_path / "report.html"), **PHONE)
    whole = browser.run("[...document.querySelectorAll('.whole')].map(e => [e.textContent, e.getClientRects().length])")
    assert [text for text, _ in whole] == ["0.612 ± 0.045", "0.734 [0.7, 0.8]", "-0.5 [-1e-05, 0]"] * 3
    assert {lines for _, lines in whole} == {1}
    assert column(browser, 1) == [told * 3]
    cut = "[...document.querySelectorAll('td, th')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert browser.run(cut) == 0
    assert browser.run("[...document.querySelectorAll('p.note')].map(e => e.textContent)") == ["none", "A note."]
