# SPDX-License-Identifier: ISC
"""What respondd tells as drops, against siit's own counters. (What its modules say is in tests/lab.)"""

import re
from pathlib import Path

from siit.device import COUNTERS, MEANINGS
from siit.translator import VERDICTS

RESPONDD = Path(__file__).resolve().parents[2] / "package/gluon-464xlat-common/src/respondd.c"


def test_respondd_tells_those_of_siits_counters_as_drops_that_are_drops():
    listed = re.search(r"no_drops\[\] = \{(.*?)\}", RESPONDD.read_text(), re.DOTALL)
    beginnings = tuple(re.findall(r'"(\w+)"', listed[1]))
    told = {name for name in COUNTERS if not name.startswith(beginnings)}
    failures = {name for name, meaning in MEANINGS.items() if meaning.startswith("dropped: ")}
    assert told == set(VERDICTS[2:]) | failures | {"read_error"}
