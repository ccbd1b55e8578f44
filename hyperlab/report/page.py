"""A report as one self-contained HTML file: no scripts, no network, figures inside."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hyperlab.train.run_folder import write_atomically

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; line-height: 1.25 } h2 { font-size: 1.2rem; margin-top: 2.2rem }
p.lead { font-size: 1.1rem } .finding { border-left: 4px solid #0072b2; padding: .2rem 1rem; background: #f3f7fa }
table { border-collapse: collapse; font-size: .85rem; margin: .8rem 0; display: block; overflow-x: auto }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #888 }
td.text { text-align: left; min-width: 14rem } img { max-width: 100%; margin: .5rem 0 }
figcaption, .note { color: #555; font-size: .9rem } code, pre { font-size: .85rem; background: #f5f5f5 }
pre { padding: .6rem; overflow-x: auto; white-space: pre-wrap }
"""


class Page:
    """Collects the parts of a report from top to bottom; everything that is text is escaped.

    >>> page = Page("Does it work?")
    >>> page.paragraph("3 < 4")
    >>> "3 &lt; 4" in page.html()
    True
    """

    def __init__(self, title: str):
        self._title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>"]

    def heading(self, text: str) -> None:
        """A section's heading."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str, style: str = "") -> None:
        """A paragraph; `style` is `lead`, `note` or nothing."""
        self._parts.append(f'<p class="{style}">{html.escape(text)}</p>')

    def findings(self, sentences: Sequence[str]) -> None:
        """What came out, one sentence a line, set apart."""
        lines = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
        self._parts.append(f'<div class="finding">{lines}</div>')

    def table(self, frame: pd.DataFrame, note: str = "") -> None:
        """A table of text, as it is given; the first column names the row."""
        head = "".join(f"<th>{html.escape(str(column))}</th>" for column in frame.columns)
        rows = []
        for values in frame.astype(str).itertuples(index=False):
            cells = [
                f'<td class="text">{html.escape(v)}</td>' if len(v) > 40 else f"<td>{html.escape(v)}</td>"
                for v in values
            ]
            rows.append(f"<tr>{''.join(cells)}</tr>")
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>")
        if note:
            self.paragraph(note, "note")

    def figure(self, path: Path, caption: str) -> None:
        """A PNG, with what it shows in words."""
        content = base64.b64encode(path.read_bytes()).decode()
        self._parts.append(
            f'<figure style="margin:0"><img alt="{html.escape(caption, quote=True)}" '
            f'src="data:image/png;base64,{content}"><figcaption>{html.escape(caption)}</figcaption></figure>'
        )

    def code(self, text: str) -> None:
        """A command or a config, as it is."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def html(self) -> str:
        """The whole page."""
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(self._title)}</title>'
            f"<style>{_STYLE}</style></head><body>{''.join(self._parts)}</body></html>\n"
        )

    def write(self, path: Path) -> Path:
        """Writes the page, atomically."""
        write_atomically(path, self.html())
        return path
