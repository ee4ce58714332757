# SPDX-License-Identifier: ISC
"""No script of ours defines what a library of OpenWrt that it sources defines, for the library goes on using it."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ROOT / "sdk/openwrt/names.txt"
SOURCED = re.compile(r"^\s*\.\s+\S*/([\w.-]+\.sh)\b", re.MULTILINE)
FUNCTION = re.compile(r"^\s*(?:function\s+)?(\w+)\s*\(\)", re.MULTILINE)
VARIABLE = re.compile(r"(?:^|[;{(]|\b(?:local|export|do|then|else)\b|\s&&|\s\|\|)\s*(\w+)=", re.MULTILINE)
# a library brings those along that it sources itself
BRINGS = {
    "network.sh": ["jshn.sh"],
    "system.sh": ["functions.sh", "jshn.sh"],
    "uci-defaults.sh": ["functions.sh", "jshn.sh"],
    "procd.sh": ["jshn.sh"],
    "rc.common": ["functions.sh", "service.sh", "procd.sh"],
}


def patterns():
    found = {}
    for line in NAMES.read_text().splitlines():
        if not line.startswith("#"):
            library, _, names = line.partition(": ")
            found.setdefault(library, []).extend(names.split())
    return found


def sourced(text):
    """Return the libraries that a script sources, and those that they bring along."""
    wanted = SOURCED.findall(text) + (["rc.common"] if text.startswith("#!/bin/sh /etc/rc.common") else [])
    found = set()
    while wanted:
        library = wanted.pop()
        if library not in found:
            found.add(library)
            wanted += BRINGS.get(library, [])
    return found


def redefined(text):
    """Return what a script defines of the libraries that it sources."""
    known = patterns()
    taken = [pattern for library in sourced(text) for pattern in known.get(library, [])]
    defined = FUNCTION.findall(text) + [f"${name}" for name in VARIABLE.findall(text)]
    return {name for name in defined if any(fnmatchcase(name, pattern) for pattern in taken)}


def scripts():
    for folder in ("files", "package"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and (path.suffix == ".sh" or path.read_bytes().startswith(b"#!/bin/sh")):
                yield pytest.param(path, id=str(path.relative_to(ROOT)))


@pytest.mark.parametrize("path", list(scripts()))
def test_no_script_defines_what_a_library_does(path):
    assert not redefined(path.read_text())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (". /lib/functions.sh\nappend() { :; }\n", {"append"}),
        ("append() { :; }\n", set()),
        (". /lib/functions/network.sh\njson_load() { :; }\n", {"json_load"}),
        ("#!/bin/sh /etc/rc.common\nstart_service() {\n\tlocal N=1\n}\nstop() { :; }\n", {"$N", "stop"}),
        ("#!/bin/sh /etc/rc.common\nservice_triggers() { procd_running a; }\n", set()),
    ],
)
def test_the_check_sees_it(text, names):
    assert redefined(text) == names
