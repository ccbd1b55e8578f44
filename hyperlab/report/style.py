"""What every page of a report carries inside: its style, and the script that sorts tables and enlarges figures."""

STYLE = r"""
:root {
  color-scheme: light dark;
  --text: #1a1a1a; --quiet: #555; --paper: #fff; --raised: #f3f7fa; --line: #ddd; --strong: #888;
  --accent: #0072b2; --code: #f5f5f5; --row: #f6f8fa;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e4e4e4; --quiet: #a9b0b6; --paper: #14171a; --raised: #1c242b; --line: #333a40; --strong: #77828c;
    --accent: #56b4e9; --code: #20262b; --row: #1a1f23;
  }
}
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--paper); margin: 0 }
main { max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem }
h1, h2, p, figcaption, pre { overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .8rem }
h1:has(+ p.verdict) { font-size: 1.15rem; font-weight: 500; color: var(--quiet) }
h2 { font-size: 1.2rem; margin-top: 2.2rem }
p.verdict { font-size: 1.45rem; line-height: 1.35; font-weight: 600; margin: 0 0 1rem }
p.lead { font-size: 1.1rem }
.finding { border-left: 4px solid var(--accent); padding: .2rem 1rem; background: var(--raised) }
/* a table or a figure that needs more than the column of text has the window, evenly on both sides */
.wide, figure { width: fit-content; min-width: 100%; max-width: max(100%, 100vw - 3rem); margin-left: 50%;
  transform: translateX(-50%) }
.wide { overflow-x: auto; margin-block: .8rem }
table { border-collapse: collapse; font-size: .85rem }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top }
th:first-child, td:first-child { text-align: left }
thead th { border-bottom: 2px solid var(--strong) }
tbody tr:hover { background: var(--row) }
td.text { text-align: left; min-width: 14rem }
td:not(.text), .whole { white-space: nowrap }
th button { all: unset; cursor: pointer; font-weight: bold }
th button::after { content: "\a0\2195"; color: var(--strong); font-weight: normal }
th[aria-sort=ascending] button::after { content: "\a0\2191"; color: var(--accent) }
th[aria-sort=descending] button::after { content: "\a0\2193"; color: var(--accent) }
th button:focus-visible, .wide:focus-visible, pre:focus-visible, img:focus-visible { outline: 2px solid var(--accent) }
figure { width: max-content; margin-block: 0; margin-right: 0 }
/* figures are drawn on white, and stay so: their colours mean something */
img { display: block; max-width: 100%; height: auto; margin: .5rem 0; background: #fff; border-radius: 4px }
img[role=button] { cursor: zoom-in }
figcaption { width: 0; min-width: min(100%, 62rem) }
figcaption, .note { color: var(--quiet); font-size: .9rem }
code, pre { font-size: .85rem; background: var(--code) }
pre { padding: .6rem; overflow-x: auto; white-space: pre-wrap }
dialog { border: 0; padding: 0; width: 100vw; height: 100vh; max-width: none; max-height: none; overflow: auto;
  background: var(--paper); cursor: zoom-out }
dialog img { max-width: none; min-width: 100%; margin: 0 auto; border-radius: 0 }
@media (prefers-color-scheme: dark) { figure img { padding: 4px } }
@media (max-width: 40rem) {
  main { margin: .8rem auto; padding: 0 .8rem }
  h1 { font-size: 1.25rem }
  p.verdict { font-size: 1.2rem }
  p.lead { font-size: 1rem }
  td.text { min-width: 10rem }
}
@media print { .wide { overflow: visible } th button::after { content: "" } }
"""

SCRIPT = r"""
"use strict";
// Tables: a click on a head sorts by that column, upwards, downwards, then as written. A column whose cells all begin
// with a number is sorted by it (a date or a hash is none); else as text. Empty cells and dashes come last.
const NUMBER = /^[<>~]?\s*([-+\u2212]?(?:\d[\d,]*(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?)(?=$|[^\w.\u2212-]|[a-z]{1,3}\b)/i;
function number(text) {
  const found = NUMBER.exec(text);
  return found ? parseFloat(found[1].replaceAll(",", "").replace("\u2212", "-")) : NaN;
}
function sorted(rows, column, way) {
  const text = (row) => row.cells[column].textContent.trim();
  const empty = (row) => ["", "-", "nan"].includes(text(row));
  const full = rows.filter((row) => !empty(row));
  const numeric = full.every((row) => !Number.isNaN(number(text(row))));
  const upwards = (a, b) =>
    numeric ? number(text(a)) - number(text(b)) : text(a).localeCompare(text(b), "en", { numeric: true });
  full.sort(way === "ascending" ? upwards : (a, b) => upwards(b, a));
  return [...full, ...rows.filter(empty)];
}
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], written = [...body.rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const way = next[head.getAttribute("aria-sort") || "none"];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (way !== "none") head.setAttribute("aria-sort", way);
      body.append(...(way === "none" ? written : sorted(written, column, way)));
    });
  });
}
// Figures: a click or Enter opens one as large as it is; a click or Escape closes it.
const dialog = document.createElement("dialog");
document.body.append(dialog);
dialog.addEventListener("click", () => dialog.close());
for (const image of document.querySelectorAll("figure img")) {
  image.tabIndex = 0;
  image.setAttribute("role", "button");
  image.setAttribute("aria-haspopup", "dialog");
  const enlarge = () => {
    const large = new Image();
    large.src = image.src;
    large.alt = image.alt;
    dialog.setAttribute("aria-label", image.alt);
    dialog.replaceChildren(large);
    dialog.showModal();
  };
  image.addEventListener("click", enlarge);
  image.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      enlarge();
    }
  });
}
"""
