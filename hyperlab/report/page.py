"""A report as one self-contained HTML file: no network, figures inside; it reads well without its small script."""

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hyperlab.files import write_atomically
from hyperlab.report.style import SCRIPT, STYLE

_NUMBER = r"[-+\u2212]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
_SPREAD = re.compile(rf"{_NUMBER} (?:(?:\u00b1|\+-) {_NUMBER}|\[{_NUMBER}, {_NUMBER}\])")
_WHOLE = r'<span class="whole">\g<0></span>'  # no line ends inside
# A browser that keeps to it fetches nothing, whatever text a report holds.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


class Page:
    """Collects the parts of a report from top to bottom; everything that is text is escaped.

    The question is the title. What came out follows it directly, the verdict first, whenever it is added, so that all
    are on the first screen. In a browser, a click on a column's head sorts a table, and one on a figure enlarges it.

    >>> page = Page("Does it work?")
    >>> page.paragraph("3 < 4")
    >>> "3 &lt; 4" in page.html()
    True
    """

    def __init__(self, title: str):
        self._title = title
        self._verdict = ""
        self._findings: list[str] = []
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        """A section's heading."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str, style: str = "") -> None:
        """A paragraph; `style` is `lead`, `note` or nothing."""
        self._parts.append(f'<p class="{style}">{html.escape(text)}</p>')

    def verdict(self, sentence: str) -> None:
        """The answer in one sentence: the first and largest after the title, and the description of the file."""
        self._verdict = html.escape(sentence, quote=True)

    def findings(self, sentences: Sequence[str]) -> None:
        """What came out, one sentence a line, set apart below the title."""
        lines = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
        self._findings.append(f'<div class="finding">{lines}</div>')

    def table(self, frame: pd.DataFrame, note: str = "") -> None:
        """A table of text, as it is given; the first column names the row. Where there is nothing, a word says so."""
        if frame.empty:
            self.paragraph("none", "note")
            if note:
                self.paragraph(note, "note")
            return
        head = "".join(f"<th>{html.escape(str(column))}</th>" for column in frame.columns)
        rows = []
        for values in frame.astype(str).itertuples(index=False):
            cells = [_cell(value) for value in values]
            rows.append(f"<tr>{''.join(cells)}</tr>")
        # tabindex: what scrolls must scroll without a mouse too
        self._parts.append(
            f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table></div>"
        )
        if note:
            self.paragraph(note, "note")

    def figure(self, path: Path, caption: str) -> None:
        """A PNG, with what it shows in words."""
        content = base64.b64encode(path.read_bytes()).decode()
        self._parts.append(
            f'<figure><img alt="{html.escape(caption, quote=True)}" '
            f'src="data:image/png;base64,{content}"><figcaption>{html.escape(caption)}</figcaption></figure>'
        )

    def code(self, text: str) -> None:
        """A command or a config, as it is."""
        self._parts.append(f'<pre tabindex="0">{html.escape(text)}</pre>')

    def html(self) -> str:
        """The whole page."""
        title = html.escape(self._title)
        described = f'<meta name="description" content="{self._verdict}">' if self._verdict else ""
        verdict = f'<p class="verdict">{self._verdict}</p>' if self._verdict else ""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="color-scheme" content="light dark"><title>{title}</title>{described}'
            f"<style>{STYLE}</style></head><body><main><h1>{title}</h1>"
            f"{verdict}{''.join(self._findings)}{''.join(self._parts)}</main><script>{SCRIPT}</script></body></html>\n"
        )

    def write(self, path: Path) -> Path:
        """Writes the page, atomically."""
        write_atomically(path, self.html())
        return path


def _cell(text: str) -> str:
    """A cell; of a long text lines end where they must, but a number stays beside its spread or its interval."""
    told = html.escape(text)
    if len(text) <= 40:
        return f"<td>{told}</td>"
    return f'<td class="text">{_SPREAD.sub(_WHOLE, told)}</td>'
