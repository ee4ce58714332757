# SPDX-License-Identifier: ISC
"""What CPython's packages leave out: nothing that the daemon needs, and no annotation."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import packages
import pytest
from test_package_ipk import pytestmark

from package.slim import Slim, value_of
from sdk.openwrt import node

ROOT = Path(__file__).resolve().parents[2]
__all__ = ["pytestmark"]
EVERY_MODULE = """
import importlib, marshal, os, sys, types
sys.path = [%r] + [each for each in sys.path if each != os.getcwd()]

def functions(code, name):
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield name + "." + each.co_name, each
            yield from functions(each, name + "." + each.co_name)

for folder in ("l3roamd_py", "runtime"):
    for at, _, names in sorted(os.walk(os.path.join(sys.path[0], folder))):
        for name in sorted(names):
            path = os.path.relpath(os.path.join(at, name), sys.path[0])
            with open(os.path.join(sys.path[0], path), "rb") as file:
                code = marshal.loads(file.read()[16:])
            for place, each in functions(code, path):
                print(place, each.co_flags & 0x20, each.co_varnames[: each.co_argcount], each.co_firstlineno)
            if not path.endswith("__main__.pyc"):
                module = importlib.import_module(path[:-4].replace(os.sep, "."))
                assert module.__file__.startswith(sys.path[0]), module.__file__
"""


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("TYPE_CHECKING", False),
        ("not IS_MICRO", True),
        ("TYPE_CHECKING or not IS_MICRO", True),
        ("TYPE_CHECKING and other", False),
        ("TYPE_CHECKING or other", None),
        ("not TYPE_CHECKING and other", None),
        ("other or not IS_MICRO", True),
        ("other", None),
        ("not other", None),
        ("f(IS_MICRO)", None),
    ],
)
def test_a_condition_that_is_always_the_same_is_known(condition, value):
    assert value_of(ast.parse(condition, mode="eval").body) is value


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("def f(a: int, *b: str, c: 'X' = 1, **d: Y) -> Z:\n    x: int\n    return a", "a, *b, c=1, **d"),
        ("if TYPE_CHECKING:\n    import a\nelif IS_MICRO:\n    import b\nelse:\n    import c", "import c"),
        ("if IS_MICRO:\n    import a", "pass"),
        ("if other:\n    import a\nelse:\n    import b", "if other:\n    import a\nelse:\n    import b"),
        ("size: int = 8 if IS_MICRO else 16", "size = 16"),
        ("class A:\n    mac: bytes\n    left: int = 3", "class A:\n    pass\n    left = 3"),
    ],
)
def test_annotations_and_what_never_runs_are_left_out(text, left):
    made = ast.unparse(ast.fix_missing_locations(Slim().visit(ast.parse(text))))
    assert left in made
    assert not [word for word in ("int", "IS_MICRO", "TYPE_CHECKING") if word in made.split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of Python's packages, with the rules of either kind."""
    made = tmp_path_factory.mktemp("packages")
    with mock.patch.dict(os.environ, {"XLAT464_ROAM_RULES": "xtables"}):
        built = packages.ipk.build(made, ["l3roamd-py", "python3-xlat464"], [packages.ipk.IPV6])
    node.unpack([package.file for package in built], made / "root")
    [found] = made.glob("root/usr/lib/python3*/site-packages")
    return found


def test_every_module_of_the_packages_is_there_and_its_functions_take_the_same(folder, tmp_path):
    done = run(["-c", EVERY_MODULE % str(folder)], tmp_path)
    told = {tuple(line.split(" ", 1)) for line in done.splitlines()}
    sources = {
        tuple(line.split(" ", 1))
        for room in ("l3roamd_py", "runtime")
        for path in (ROOT / room).rglob("*.py")
        for line in functions(compile(path.read_text(), "", "exec"), f"{path.relative_to(ROOT)}c")
    }
    assert told <= sources
    assert len(told) > 800


def functions(code, name):
    for each in code.co_consts:
        if hasattr(each, "co_consts"):
            place = f"{name}.{each.co_name}"
            yield f"{place} {each.co_flags & 0x20} {each.co_varnames[: each.co_argcount]} {each.co_firstlineno}"
            yield from functions(each, place)


def test_the_cases_of_both_pythons_hold_for_what_is_in_the_packages(folder):
    code = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT / 'tests/unit')!r}]\n"
    code += (
        "import l3roamd_py, roaming_cases, cases; print(l3roamd_py.__file__); cases.run(roaming_cases.CASES)"
    )
    said = run(["-c", code], ROOT).splitlines()
    assert said[0].startswith(str(folder))
    assert len(said) > 80
    assert all(line.startswith("ok ") for line in said[1:])


def run(words, folder):
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", "-P", *words]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
