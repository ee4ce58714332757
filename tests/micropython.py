# SPDX-License-Identifier: ISC
"""MicroPython for tests: the oldest that we support, and a newer one.

"oldest" is built by `make oldest-micropython` and has the version of released OpenWrt. "newest" is the unix port from
PyPI; its `micropython` lies beside the Python that runs the tests. If one is missing, only the other is tested.
MICROPYTHON=PROGRAM in the environment replaces both.

The newest is a console script of CPython, so each start of it costs a start of CPython too. `each` gives many cases to
one start.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from sdk.debian.micropython import PROGRAM

REPOSITORY = Path(__file__).resolve().parent.parent

# Evaluates one expression a line of stdin, answers one line of JSON each: [value] or "TypeOfError: message".
# bytes become {"hex": ...}. Runs on MicroPython, so no JSON encoder hooks.
EVALUATOR = """
import json
import sys

def plain(value):
    if isinstance(value, (bytes, bytearray)):
        return {"hex": "".join(["%02x" % octet for octet in value])}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value

scope = {}
for line in sys.stdin:
    line = json.loads(line)
    if line.startswith("import ") or line.startswith("from "):
        exec(line, scope)
        answer = [None]
    else:
        try:
            answer = [plain(eval(line, scope))]
        except Exception as error:
            answer = "%s: %s" % (type(error).__name__, error)
    print(json.dumps(answer))
"""


def find():
    """Return the interpreters that there are: name -> path."""
    if chosen := os.environ.get("MICROPYTHON"):
        return {"given": Path(chosen).resolve()}
    beside = Path(sys.executable).parent / "micropython"
    newest = str(beside) if beside.exists() else shutil.which("micropython")
    found = {"oldest": PROGRAM} if PROGRAM.exists() else {}
    return {**found, "newest": Path(newest)} if newest else found


class MicroPython:
    """One interpreter, by its path."""

    def __init__(self, program):
        self.program = str(program)

    def run(self, *arguments, input=None, timeout=60, check=False, cwd=REPOSITORY, env=None):
        """Run `micropython ARGUMENTS` in the repository, so that `-m xlat464` finds ours.

        Returns a subprocess.CompletedProcess with stdout and stderr as text.
        """
        return subprocess.run(
            [self.program, *map(str, arguments)],
            input="" if input is None else input,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=check,
            cwd=cwd,
            env={**os.environ, "MICROPYPATH": f"{REPOSITORY}:.frozen", **(env or {})},
        )

    def each(self, imports, expressions, timeout=120):
        """Evaluate expressions, in order and in one process.

        `imports` and `expressions` are lists of source text. Returns one item for each expression: its value
        (bytes as bytes, tuples as lists) or, when it raised, the text "ErrorName: message" wrapped in Raised.
        """
        lines = "".join(json.dumps(text) + "\n" for text in [*imports, *expressions])
        result = self.run("-c", EVALUATOR, input=lines, timeout=timeout)
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        if result.returncode or len(answers) != len(imports) + len(expressions):
            raise AssertionError(f"{self.program}: exit {result.returncode}: {result.stdout}{result.stderr}")
        return [_value(answer) for answer in answers[len(imports) :]]


class Raised(str):
    """What an expression raised: "ErrorName: message"."""


def _value(answer):
    return Raised(answer) if isinstance(answer, str) else _with_bytes(answer[0])


def _with_bytes(value):
    if isinstance(value, dict) and list(value) == ["hex"]:
        return bytes.fromhex(value["hex"])
    if isinstance(value, dict):
        return {key: _with_bytes(item) for key, item in value.items()}
    return [_with_bytes(item) for item in value] if isinstance(value, list) else value
