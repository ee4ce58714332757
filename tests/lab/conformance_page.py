# SPDX-License-Identifier: ISC
"""Write docs/conformance.md from the table of cases and the recordings: `make conformance [FROM=FOLDER]`.

Recordings in FOLDER take the place of those of their targets that are kept.

A cell is what a recording says when the case's claim is asked about it. A case that a target was not asked, or was
asked with other packets, is "not run". No column is written for what does not exist.
"""

import shutil
import sys
from pathlib import Path

import conformance_table as table

PAGE = Path(__file__).resolve().parents[2] / "docs/conformance.md"
TARGETS = {"siit": "siit, in user space", "nat46": "nat46", "jool": "Jool, SIIT mode"}
HEAD = """\
# Conformance

What each translator makes of the same packets, section by section of RFC 7915. Written by `make conformance` from
recordings in `tests/lab/conformance`, which name what they were taken from; do not edit it. The cases are in
`tests/lab/conformance_*.py`; "yes" is that what came out is what the section asks for, checksums included. siit has no
fast path of its own yet, so there is no column for one.

The packets go straight into siit's and nat46's device. On a node the kernel routes them there, and looks at the TTL,
the header's checksum and illegal addresses before. What the node set-up does about the rest is in [nat46.md](nat46.md).

With a kernel module: `make test-vm NAT46_KO=FILE ARGS='--only conformance'`, and then
`make conformance FROM=build/vm/out/2/conformance`.
"""


def cell(target, recorded, name, notes):
    """yes, not run, or no with what came and the number of a note, which is added to notes."""
    if recorded is None or name not in recorded["cases"]:
        return "not run"
    came = recorded["cases"][name]
    if table.CASES[name].claim(came):
        return "yes"
    text = f"**no**: {table.brief(came)}"
    if why := table.OTHERWISE.get((target, name)):
        number = notes.setdefault(f"{TARGETS[target].partition(',')[0]} {why}", len(notes) + 1)
        text += f" ({number})"
    return text


def render():
    """The page's text."""
    recorded = {target: table.recording(target) for target in TARGETS}
    notes: dict[str, int] = {}
    lines = [HEAD, *sources(recorded)]
    for section, title in table.SECTIONS.items():
        lines += ["", f"## {title}", "", row("", *TARGETS.values()), row(*["---"] * (len(TARGETS) + 1))]
        for name, case in table.CASES.items():
            if case.section == section:
                lines.append(row(name, *(cell(target, recorded[target], name, notes) for target in TARGETS)))
    if notes:
        lines += ["", "## Notes", "", *(f"{number}. {why}" for why, number in notes.items())]
    return "\n".join(lines) + "\n"


def sources(recorded):
    """The table of what the recordings were taken from."""
    lines = [row("column", "version", "kernel", "on", "yes"), row(*["---"] * 5)]
    for target, title in TARGETS.items():
        if (one := recorded[target]) is None:
            lines.append(row(title, "not run", "", "", ""))
            continue
        right = sum(table.CASES[name].claim(came) for name, came in one["cases"].items())
        count = f"{right} of {len(one['cases'])}"
        lines.append(row(title, one["version"], one["kernel"], one["date"], count))
    return lines


def row(*cells):
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        for file in Path(folder).glob("*.json"):
            shutil.copy(file, table.RECORDINGS / file.name)
    PAGE.write_text(render())
    print(PAGE, file=sys.stderr)
