# SPDX-License-Identifier: ISC
"""What packages say they need is what their files need: all of it, and nothing else."""

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import needs
import packages
import pytest
import shell_words

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not Path("/usr/include/json-c/json.h").exists() or shutil.which("make") is None,
    reason="no build tools: apt-get install make libjson-c-dev",
)
FIREWALLS = ["xtables", "xtables-alone", "nft"]


def fields(name: str, firewall: str) -> dict[str, str]:
    text = (packages.trees(firewall)[name] / "control/fields").read_text()
    return packages.ipk.control.parse_fields(text)


def declared(name: str, firewall: str) -> set[str]:
    depends = fields(name, firewall)["Depends"]
    return set(packages.ipk.control.depends(depends, [packages.ipk.IPV6])) - {"libc"}


def closure(name: str, firewall: str) -> set[str]:
    """What comes with a package, as far as this feed knows."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for other in declared(waiting.pop(), firewall) - found:
            found.add(other)
            if other in packages.trees(firewall):
                waiting.append(other)
    return found


@cache
def feed_functions() -> set[str]:
    texts = [path.read_text() for path in (ROOT / "files").rglob("*.sh")]
    return set().union(*map(shell_words.functions, texts))


def source_of(path: Path) -> Path | None:
    """The text that a compiled module was made of."""
    room = re.search(r"(?:site-packages|lib/micropython)/(.+)\.(?:pyc|mpy|py)$", str(path))
    return ROOT / f"{room[1]}.py" if room else None


def texts(name: str, firewall: str) -> list[tuple[Path, str]]:
    """Each file of a package with its text, that of its source for compiled modules; scripts of its control too."""
    tree = packages.trees(firewall)[name]
    found = []
    for path in sorted([*(tree / "data").rglob("*"), *(tree / "control").glob("p*r*")]):
        if path.is_file() and not path.is_symlink():
            source = source_of(path)
            content = (source or path).read_bytes()
            found.append(
                (source or path, "" if content.startswith(b"\x7fELF") else content.decode(errors="replace"))
            )
    return found


def found(name: str, firewall: str) -> dict[str, str]:
    """What the files of a package need, and why."""
    result: dict[str, str] = {}
    is_micro = (packages.trees(firewall)[name] / "data/usr/lib/micropython").is_dir()
    mine = set().union(
        *(shell_words.functions(text) for path, text in texts(name, firewall) if is_shell(path, text))
    )
    for path, text in texts(name, firewall):
        if path.suffix == ".py" and is_micro:
            result["micropython-nossl"] = f"{path.name} runs on it"
        elif path.suffix == ".py":
            result.update(needs.python_needs(text))
        elif path.suffix == ".lua" or "bin/lua" in text.partition("\n")[0]:
            result.update(needs.lua_needs(text))
        elif is_shell(path, text):
            result.update(needs.shell_needs(text, mine | feed_functions()))
        elif not text:
            result.update(needs.library_needs(str(path)))
    for program in needs.DOES_WITHOUT.get(name, ()):
        result.pop(needs.PROGRAMS.get(program, program), None)
    for own in (name, *fields(name, firewall)["Provides"].split()):
        result.pop(own, None)
    return result


def is_shell(path: Path, text: str) -> bool:
    return path.suffix == ".sh" or text.startswith("#!/bin/sh")


NAMES = sorted(
    {path.parent.name for path in ROOT.glob("package/*/Makefile")} - {"464xlat-siit"}
    | {"siit", "464xlat-plat", "464xlat-netlink", "464xlat-page", "464xlat-nft", "464xlat-xtables"}
)


@pytest.mark.parametrize("firewall", FIREWALLS)
@pytest.mark.parametrize("name", NAMES)
def test_a_package_says_all_that_its_files_need(name, firewall):
    lacks = {need: why for need, why in found(name, firewall).items() if need not in closure(name, firewall)}
    assert lacks == {}


@pytest.mark.parametrize("firewall", FIREWALLS)
@pytest.mark.parametrize("name", NAMES)
def test_a_package_says_nothing_that_its_files_do_not_need(name, firewall):
    everything = "\n".join(text for _, text in texts(name, firewall))
    shown = set(found(name, firewall))
    shown |= {need for need, words in needs.EVIDENCE.get(name, {}).items() if re.search(words, everything)}
    assert declared(name, firewall) - shown == set()


def test_an_image_with_iptables_roams_by_nf_tables_if_its_kernel_may_have_it():
    core, program, sets = "kmod-nft-core", "nftables", "kmod-ipt-ipset"
    for name in ("l3roamd-py", "l3roamd-micropython"):
        needs = {firewall: declared(name, firewall) & {core, program, sets} for firewall in FIREWALLS}
        assert needs == {"xtables": {core}, "xtables-alone": {sets}, "nft": {core}}


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("import os\nfrom urllib.parse import quote\n", {"python3-light", "python3-urllib"}),
        ("def late():\n    import pyroute2.netlink\n", {"python3-pyroute2"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sqlite3\n", {"python3-light"}),
        ("try:\n    import ssl\nexcept ImportError:\n    ssl = None\n", set()),
        ("from . import sibling\n", set()),
        ("import pathlib\n", {"python3-light", "python3-urllib"}),
    ],
)
def test_imports_are_read_wherever_they_are(text, needed):
    assert {need for need, _ in needs.python_needs(text)} == needed


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("a=1 b c", {"b"}),
        ("if a && ! b; then c | d; else e || f; fi", set("abcdef")),
        ('x=$(a "$(b)") && echo "${y:-$(c)}"', {"a", "b", "echo", "c"}),
        ("case $1 in\na | b) c ;;\n*) d && e ;;\nesac\nf", set("cdef")),
        ("f() { a; }\nf", {"a", "f"}),
        ("a <<-END\n\tb $(c)\n\tEND\nd", {"a", "c", "d"}),
        ("a <<'END'\n$(b)\nEND\n", {"a"}),
        ("exec a 2>&1 >b # c", {"exec", "a"}),
        ("change 'undo a' must ip link", {"change", "undo", "must", "ip"}),
        ("timeout 5 nc ::1", {"timeout", "nc"}),
        ("trap 'a; b' EXIT; ${JOOL:-jool} x", {"trap", "a", "b", "jool"}),
        ("for x in a b; do c; done < d", {"c"}),
        ("(a; b) | while read -r x; do c; done", {"a", "b", "read", "c"}),
        ("echo 'it; is' \"a; (b)\" \\; x", {"echo"}),
    ],
)
def test_commands_are_read_wherever_they_are(text, run):
    assert {words[0] for words in shell_words.commands(text)} == run


def test_a_command_that_nobody_brings_is_named():
    with pytest.raises(ValueError, match="jq: who brings"):
        list(needs.shell_needs("ip -j addr | jq .", set()))


def test_what_pythons_light_part_imports_of_others_is_known():
    """Read off this Python where it is that of OpenWrt 24.10."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("not Python 3.11")
    names = set().union(
        *(
            needs.imports(path.read_text())
            for room in ("l3roamd_py", "siit", "nat46", "runtime", "xlat464")
            for path in (ROOT / room).rglob("*.py")
            if path.name != "_build.py"
        )
    )
    light = {name for name in names & sys.stdlib_module_names if name not in needs.PYTHON}
    for name in light:
        code = f"import sys; before = set(sys.modules); import {name}; print(*(set(sys.modules) - before))"
        said = subprocess.run(
            [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
        ).stdout
        parts = {word.partition(".")[0] for word in said.split()} & set(needs.PYTHON) - needs.imports(
            f"import {name}"
        )
        # lzma is imported where there is one
        assert parts - {"lzma"} == needs.OF_LIGHT.get(name, set()), name
