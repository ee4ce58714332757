# SPDX-License-Identifier: ISC
"""The speed of all variants for people: a table in the terminal, a drawing for each group, and every round."""

import json
from dataclasses import asdict
from pathlib import Path
from xml.sax.saxutils import escape

from bench.speed.cells import PLAIN, Cell, Found, Ratio, against, cost, quartiles, rate
from bench.speed.loads import LOADS

COLOURS = {"siit": "#c60", "fast": "#06a", "tayga": "#999", "tayga_new": "#555"}
LEFT, WIDE, BAR, GAP, TOP = 210, 330, 13, 12, 56  # pixels
AXIS = {"rate": 1.25, "CPU": 3.0}  # where the bars' axis ends; the number is beside a longer one


def table(found: Found) -> list[str]:
    """A line for each cell: the rate and the CPU time of so much, and both against plain IPv6's of the same rounds."""
    lines = [f"{'GROUP':7}{'LOAD':30}{'VARIANT':10}{'RATE':>16}  {'OF PLAIN':13}{'CPU':>17}  {'OF PLAIN':13}"]
    for cell, samples in found.items():
        load = LOADS[cell.load]
        speed = quartiles([each.rate / load.scale for each in samples])
        spent = quartiles([each.cost for each in samples])
        words = [f"{cell.group:7}{cell.title():30}{cell.variant:10}{speed.median:9.2f} {load.unit:6}"]
        words.append(
            f"  {beside(against(found, cell, PLAIN, rate)):13}{spent.median:8.2f} {load.cost_unit:9}"
        )
        words.append(f" {beside(against(found, cell, PLAIN, cost)):13}")
        worst = quartiles([each.worst for each in samples]).median
        lost = quartiles([each.lost for each in samples]).median
        words.append(f"p99 {worst:.0f} us" if worst else f"{lost:.0%} lost" if lost > 0.005 else "")
        lines.append("".join(words).rstrip())
    return lines


def beside(ratio: Ratio | None) -> str:
    return f"{ratio.median:.2f} ±{ratio.spread:.2f}" if ratio else "-"


def raw(found: Found) -> str:
    """Every round of every cell, as JSON."""
    return json.dumps(
        [{**asdict(cell), "rounds": [asdict(each) for each in samples]} for cell, samples in found.items()],
        indent=1,
    )


def drawing(found: Found, group: str) -> str:
    """An SVG of a group: what each variant's rate and CPU time are against plain IPv6's, and their quartiles."""
    shown = [cell for cell in found if cell.group == group and against(found, cell, PLAIN, rate)]
    titles = list(dict.fromkeys(cell.title() for cell in shown))
    parts, y = [], float(TOP)
    for title in titles:
        parts.append(text(LEFT - 8, y + BAR, title, "end"))
        for cell in shown:
            if cell.title() == title and cell.variant != PLAIN:
                parts += [*bar(found, cell, "rate", LEFT, y), *bar(found, cell, "CPU", LEFT + WIDE + 90, y)]
                y += BAR
        y += GAP
    for name, left in (("rate", LEFT), ("CPU", LEFT + WIDE + 90)):
        one = left + WIDE / AXIS[name]
        parts.append(text(left, TOP - 26, f"{name} against plain IPv6 (the line)", "start"))
        parts.append(f'<line x1="{one:.0f}" x2="{one:.0f}" y1="{TOP - 6}" y2="{y:.0f}" stroke="#000"/>')
    x = LEFT
    for name in dict.fromkeys(cell.variant for cell in shown if cell.variant != PLAIN):
        parts.append(f'<rect x="{x}" y="{y:.0f}" width="10" height="10" fill="{COLOURS.get(name, "#393")}"/>')
        parts.append(text(x + 14, y + 10, name, "start"))
        x += 100
    wide = LEFT + 2 * WIDE + 190
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {y + 24:.0f}" font-family="sans-serif" '
    )
    return "\n".join(
        [head + 'font-size="11">', '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>\n"]
    )


def bar(found: Found, cell: Cell, name: str, left: float, y: float) -> list[str]:
    """A variant's, with a line from quartile to quartile and the number."""
    ratio = against(found, cell, PLAIN, rate if name == "rate" else cost)
    if ratio is None:
        return []
    scale, middle = WIDE / AXIS[name], y + BAR / 2
    end = min(ratio.median * scale, WIDE)
    low, high = (
        min(max(v, 0) * scale, WIDE) for v in (ratio.median - ratio.spread, ratio.median + ratio.spread)
    )
    colour = COLOURS.get(cell.variant, "#393")
    return [
        f'<rect x="{left}" y="{y + 1:.0f}" width="{end:.1f}" height="{BAR - 2}" fill="{colour}"/>',
        f'<line x1="{left + low:.1f}" x2="{left + high:.1f}" y1="{middle}" y2="{middle}" stroke="#000"/>',
        text(left + max(end, high) + 4, y + BAR - 2, f"{ratio.median:.2f}", "start"),
    ]


def text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(words)}</text>'


def write(found: Found, folder: Path) -> list[Path]:
    """Write speed.json and the drawings; return what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {"speed.json": raw(found) + "\n"}
    for group in dict.fromkeys(cell.group for cell in found):
        if any(cell.variant == PLAIN for cell in found if cell.group == group):
            made[f"speed-{group}.svg"] = drawing(found, group)
    for name, content in made.items():
        (folder / name).write_text(content)
    return [folder / name for name in made]
