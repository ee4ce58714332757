# SPDX-License-Identifier: ISC
"""The drawing of a client's states in docs/architecture.md, made of the table in l3roamd_py/core/judge.py.

python -m sdk.roaming_states            say whether the drawing is the table's
python -m sdk.roaming_states --write    make it so: make diagram
"""

import re
import sys
import textwrap
from pathlib import Path

from l3roamd_py.core import judge

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"
BEGIN, END = "<!-- drawn by make diagram -->\n", "<!-- drawn up to here -->\n"
STATES = ("Claiming", "Roaming", "Served", "Absent", "Restored")
# what is no verdict: signs of who is not known, and time
AROUND = (
    ("[*]", "Claiming", "seen"),
    ("[*]", "Restored", "a restart"),
    ("Departed", "Claiming", "seen again"),
    ("Departed", "[*]", "after some minutes"),
)


def rows() -> list[tuple[str, str, str, str]]:
    """Return state, evidence, verdict and next state of each row of the table, a row for each state."""
    lines = iter((judge.__doc__ or "").splitlines())
    starts = next([m.start() for m in re.finditer("-+", line)] for line in lines if line.startswith("---"))
    found = []
    for line in filter(None, lines):
        cells = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
        for state in STATES if cells[0] == "any" else cells[0].split(", "):
            found.append((state, cells[1], cells[2], state if cells[3] == "-" else cells[3]))
    return found


def draw() -> str:
    """Return the drawing, in the language of Mermaid: who stays as it is is told beside its state."""
    stays: dict[str, dict[str, None]] = {}
    goes: dict[tuple[str, str], dict[str, None]] = {}
    for state, _, verdict, then in rows():
        where = stays.setdefault(state, {}) if then == state else goes.setdefault((state, then), {})
        where[verdict] = None
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {one} --> {other}: {label}" for one, other, label in AROUND]
    for (state, then), verdicts in goes.items():
        lines.append(f"    {state} --> {'[*]' if then == 'forgotten' else then}: {', '.join(verdicts)}")
    for state, verdicts in stays.items():
        told = [f"        {line}" for line in textwrap.wrap(", ".join(verdicts), 60)]
        lines += [f"    note right of {state}", *told, "    end note"]
    return "\n".join([*lines, "```", ""])


def main(words: list[str]) -> int:
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    drawn = before + BEGIN + draw() + END + after
    if words == ["--write"]:
        DOCUMENT.write_text(drawn)
    elif drawn != text:
        print(f"the drawing in {DOCUMENT.name} is not the table's: make diagram")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
