# SPDX-License-Identifier: ISC
"""The lint of what runs on MicroPython: each row catches what it is about, and says the truth of interpreters."""

import ast
import json
import subprocess
import sys

import pytest

from sdk.debian.micropython import PROGRAM
from sdk.micropython_lint.__main__ import read, read_beside
from sdk.micropython_lint.check import check
from sdk.micropython_lint.names import BUILTINS, METHODS, MODULES, OF_CLASSES
from sdk.micropython_lint.rules import ODD_F_STRING, RULES

ALL_RULES = (*RULES, ODD_F_STRING)
ROWS = [pytest.param(rule, id=rule.what) for rule in ALL_RULES]
# runs on both Pythons: a line of JSON in, its value or what it raised out
EVALUATOR = """
import sys, json
for line in sys.stdin:
    text = json.loads(line)
    try:
        try:
            found = repr(eval(text, {}))
        except SyntaxError:
            exec(text, {})
            found = ""
    except Exception as error:
        found = "! " + type(error).__name__
    print(json.dumps(found))
"""
# one object of each kind that METHODS speaks of
OBJECTS = """
import io, re, select, socket
from collections import deque
def generate(): yield 1
objects = ["", b"", bytearray(1), 1, 1.0, [], {}, set(), frozenset(), (), range(1), property(), generate()]
objects += [deque((), 1), OSError(1), StopIteration(1), io.BytesIO(), open("/dev/null"), open("/dev/null", "rb", 0)]
objects += [socket.socket(), select.poll(), re.compile("a"), re.match("a", "a")]
there = set()
for each in objects:
    there.update(dir(each))
"""


def whats(text, name="prefixd/x.py"):
    return [finding.what for finding in check({name: text})]


@pytest.mark.parametrize("rule", ROWS)
def test_each_row_catches_its_example(rule):
    try:
        ast.parse(rule.example)
    except SyntaxError:
        pytest.skip("this CPython knows no such thing")
    assert any(what.startswith(rule.what) for what in whats(rule.example)), whats(rule.example)


ODD = (
    "f'{1}' 'a'",
    "'a' f'{1}'",
    "f'{1}' f'{2}'",
    "rf'{1}'",
    "f'{1:{2}}'",
    "f'{f\"{1}\"}'",
    "f'{1}}}'",
    'f\'{",".join([":"])}\'',
    "f'{(lambda: 1)()}'",
    "x = (f'{1}'\n    'a')",
)
PLAIN = (
    "f'{1!r} {2:04x} {[1][0]} {\"a\".upper()} {1 if 2 else 3} {(1, 2)}'",
    "f'100 % {1 != 2} {1:.1f}|'",
    "'a' 'b'",
)


@pytest.mark.parametrize("text", ODD)
def test_odd_f_strings_are_caught(text):
    assert [what.partition(":")[0] for what in whats(text)] == [ODD_F_STRING.what.partition(":")[0]]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_f_strings_are_let_through(text, micropython):
    assert whats(text) == []
    assert values(micropython.run, [text]) == values(on_cpython, [text])


def on_cpython(*words, input):
    return subprocess.run([sys.executable, *words], input=input, capture_output=True, text=True)


def values(run, examples):
    """What each example is worth to an interpreter."""
    done = run("-c", EVALUATOR, input="".join(json.dumps(text) + "\n" for text in examples))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def version_of(micropython):
    said = micropython.run("-c", "import sys, json; print(json.dumps(list(sys.implementation[1][:2])))")
    return tuple(json.loads(said.stdout))


def test_each_row_is_true_of_the_interpreter(micropython):
    """What a row calls missing fails or differs from CPython; what it calls there since then does not."""
    have = version_of(micropython)
    examples = [rule.example for rule in ALL_RULES]
    for rule, here, there in zip(
        ALL_RULES, values(on_cpython, examples), values(micropython.run, examples), strict=True
    ):
        if rule.since is None or rule.since > have:
            assert there.startswith("!") or there != here, rule.what
        elif micropython.program != str(PROGRAM) or rule.what != "next(iterator, default)":  # left out there
            assert there == here, rule.what


def test_the_names_are_there(micropython):
    """A wish in the lists would let through what no router has."""
    script = "import sys, json, builtins\n"
    for module, names in MODULES.items():
        script += f"import {module}\n"
        script += f"print(json.dumps([n for n in {names.split()!r} if not hasattr({module}, n)]))\n"
    script += f"print(json.dumps([n for n in {BUILTINS.split()!r} if not hasattr(builtins, n)]))\n"
    script += f"print(json.dumps([n for n in {OF_CLASSES.split()!r} if not hasattr(str, n)]))\n"
    script += OBJECTS
    script += f"print(json.dumps([n for n in {METHODS.split()!r} if n not in there]))\n"
    done = micropython.run("-c", script)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[]] * (len(MODULES) + 3)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import dataclasses", "import dataclasses"),
        ("from typing import Any", "from typing import"),
        ("import os.path", "import os.path"),
        ("from . import x", "from . import"),
        ("from socket import MSG_PEEK", "socket.MSG_PEEK"),
        ("import time\ntime.monotonic()", "time.monotonic"),
        ("import os\nos.environ['A']", "os.environ"),
        ("import socket\nsocket.IP_ADD_MEMBERSHIP", "socket.IP_ADD_MEMBERSHIP"),
        ("'ab'.removeprefix('a')", ".removeprefix"),
        ("(5).bit_length()", ".bit_length"),
        ("import hashlib\nhashlib.sha256(b'').hexdigest()", ".hexdigest"),
        ("try:\n    pass\nexcept TimeoutError:\n    pass", "TimeoutError"),
        ("vars()", "vars"),
        ("def f():\n    if IS_LARGE:\n        import signal", "import signal"),
    ],
)
def test_names_that_are_not_there_are_caught(text, found):
    assert whats(text) == [f"{found}: the oldest MicroPython has none"]


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import signal\nexcept ImportError:\n    pass",
        "import time\ndef f():\n    return time.ticks_ms() if IS_MICRO else time.monotonic()",
        "import os\nos.strerror(1) if hasattr(os, 'strerror') else ''",
        "next(iter(()))\n'ab'.startswith('a', 1)\n(1).to_bytes(2, 'big')\n[*map(len, [])][0]" * 0
        + "next(iter(()))",
        "'ab'.startswith('a', 1)\n'ab'.endswith('b')\n(1).to_bytes(2, 'big')\nint.from_bytes(b'a', 'big')",
        "len({})\n'{:,}'.format(1)\nb'a'.decode('ascii')\nprint(1, end='')\nisinstance(1, (int, str))",
        "class A:\n    def removeprefix(self):\n        self.hexdigest = 1\nA().removeprefix()\nA().hexdigest",
        "from runtime import loop\nfrom xlat464.address import parse_ipv6\nloop.POLLIN",
    ],
)
def test_what_is_there_is_let_through(text):
    assert whats(text) == []


def test_the_rooms_that_run_on_micropython_are_clean():
    files = read()
    assert {name.partition("/")[0] for name in files} == {"xlat464", "prefixd", "runtime", "l3roamd_py"}
    assert [str(finding) for finding in check(files, read_beside())] == []
