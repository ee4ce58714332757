# SPDX-License-Identifier: ISC
"""The rules of the house that imports can break: arrows point down."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_USE = {
    "xlat464": {"runtime"},
    "nat46": {"xlat464", "runtime"},
    "siit": {"xlat464", "nat46", "runtime"},
    "prefixd": {"xlat464", "runtime"},
    "runtime": set(),
    "l3roamd_py": {"xlat464", "runtime"},
    "reach": {"xlat464", "runtime"},
    "server": {"xlat464", "runtime", "reach"},
    "sdk": {"xlat464", "runtime", "nat46", "siit", "prefixd", "l3roamd_py", "reach", "server"},
}


def imports(file: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("room", MAY_USE)
def test_a_room_imports_only_what_is_below_it(room):
    rooms = {*MAY_USE, "tests", "bench"}
    for file in (ROOT / room).rglob("*.py"):
        strangers = imports(file) & rooms - MAY_USE[room] - {room}
        assert not strangers, f"{file.relative_to(ROOT)} imports {strangers}"


def test_only_the_translator_in_c_and_the_shim_use_cffi():
    for folder in ROOT.iterdir():
        if folder.name not in (".venv", "build"):
            for file in folder.rglob("*.py"):
                is_theirs = file.parent in (ROOT / "siit", ROOT / "nat46")
                assert is_theirs or "cffi" not in imports(file), file.relative_to(ROOT)


def test_no_two_files_of_tests_have_one_name():
    """pytest imports them by their names alone, and stops at the second."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


# wing of the roaming daemon -> what of it may be imported there; the process, on top, may import all
WINGS = {
    "core": {"core"},
    "kernel": {"kernel", "core"},
    "netfilter": {"netfilter", "core"},
}


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_of_the_roaming_daemon_imports_only_what_is_below_it(wing):
    for file in (ROOT / "l3roamd_py" / wing).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("l3roamd_py"):
                parts = node.module.split(".")
                used = {parts[1]} if parts[1:] else {alias.name for alias in node.names}
                strangers = used - WINGS[wing]
                assert not strangers, f"{file.relative_to(ROOT)} imports {strangers}"


# a function of C that other files may call: its definition begins in the first column and is not static
DEFINITION = re.compile(r"^(?!static|typedef|extern)[A-Za-z_][\w \t*]*?\b(\w+)\([^;{}]*\)\s*\{", re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def imported_modules() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports, wherever in it, also for types alone."""
    files = {}
    for room in (*MAY_USE, "bench"):
        for file in (ROOT / room).rglob("*.py"):
            files[".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = file
    files |= {file.stem: file for file in (ROOT / "tests").rglob("*.py")}  # which each other import by it
    graph = {}
    for name, file in files.items():
        used = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                used |= inner & files.keys() or {node.module}
        graph[name] = used & files.keys() - {name}
    return graph


def called_files() -> dict[str, set[str]]:
    """File of C -> the files beside it whose functions it uses."""
    graph: dict[str, set[str]] = {}
    for folder in {file.parent for room in (*MAY_USE, "package") for file in (ROOT / room).rglob("*.c")}:
        texts = {
            str(file.relative_to(ROOT)): COMMENT.sub("", file.read_text()) for file in folder.glob("*.c")
        }
        home = {name: file for file, text in texts.items() for name in DEFINITION.findall(text)}
        for file, text in texts.items():
            words = set(re.findall(r"\w+", text))
            graph[file] = {at for name, at in home.items() if name in words and at != file}
    return graph


@pytest.mark.parametrize("uses", [imported_modules, called_files])
def test_no_files_use_each_other_in_a_circle(uses):
    graph = uses()
    assert sum(map(len, graph.values())) > 20
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
