# SPDX-License-Identifier: ISC
"""On what the roaming daemon is measured: CPython, and the oldest MicroPython once the daemon runs there.

A lab starts its daemons by bin/l3roamd_py, which L3ROAMD_PYTHON tells the interpreter. Here it is a launcher of sh: it
gives MicroPython its modules and its heap, and lets a tool such as valgrind run the interpreter.
"""

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sdk.debian.micropython import PROGRAM

ROOT = Path(__file__).resolve().parent.parent
HEAP = "6m"  # of MicroPython, as in bin/l3roamd_py
# what one daemon of a lab imports, and which of the rules it may take
NEEDS = "from l3roamd_py import daemon, cleanup; from l3roamd_py.netfilter.{rules} import clat, plat, gate"
RULES = ("nft", "xtables")


@dataclass(frozen=True)
class Interpreter:
    """An interpreter: what its keys begin with, its command, and the package that has the daemon for it."""

    prefix: str
    words: tuple[str, ...]
    package: str

    def keys(self, rules: str) -> str:
        """What keys of the daemon with these rules begin with."""
        return f"roam.{self.prefix}{'' if rules == 'nft' else f'{rules}_'}"

    def run(
        self, words: list[str], timeout_s: float = 60, before: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess:
        """Run it in this repository, by another program if there is one before it."""
        environment = {**os.environ, **variables()}
        command = [*before, *self.words, *words]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=timeout_s
        )

    def lacks(self, rules: str) -> str:
        """Return why the daemon does not run on it with these rules, or "" if it does."""
        done = self.run(["-c", NEEDS.format(rules=rules)])
        said = (done.stderr or done.stdout).strip().splitlines()
        return said[-1] if done.returncode and said else ""


# -S: without site-packages, so that it is what python3-light has, as tests/unit/test_l3roamd_cli.py says
CPYTHON = Interpreter("", (sys.executable, "-S", "-P"), "l3roamd-py")
MICROPYTHON = Interpreter("micropython_", (str(PROGRAM), "-X", f"heapsize={HEAP}"), "l3roamd-micropython")


def variables() -> dict[str, str]:
    """Where either finds our modules."""
    return {
        "PYTHONPATH": str(ROOT),
        "MICROPYPATH": f"{ROOT}:.frozen",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }


def there(say: Callable[[str], None]) -> list[Interpreter]:
    """The interpreters that there are; say what is missing."""
    if PROGRAM.exists():
        return [CPYTHON, MICROPYTHON]
    say("roam.micropython_...: there is no MicroPython: `make oldest-micropython`")
    return [CPYTHON]


def ways(say: Callable[[str], None]) -> Iterator[tuple[Interpreter, str]]:
    """Yield each interpreter with each kind of rules with which the daemon runs on it; say why the others are not."""
    for interpreter in there(say):
        for rules in RULES:
            if why := interpreter.lacks(rules):
                say(f"{interpreter.keys(rules)}...: the daemon does not run there: {why}")
            else:
                yield interpreter, rules


@contextlib.contextmanager
def daemons_run_on(
    interpreter: Interpreter, before: tuple[str, ...] = (), program: str = ""
) -> Iterator[None]:
    """Within the context the daemons of labs run on it; before: what runs the interpreter, its variables included.

    program: what runs instead of the module l3roamd_py, a file of this repository.
    """
    module = str(ROOT / program) if program else "-m l3roamd_py"
    lines = [
        "#!/bin/sh",
        'while [ "$1" != l3roamd_py ]; do shift; done; shift',  # the options of CPython, and -m
        *(f"export {name}={shlex.quote(value)}" for name, value in variables().items()),
        # what dnsmasq runs for each lease is not measured
        f'[ "$1" != lease ] || exec {shlex.join(CPYTHON.words)} -m l3roamd_py "$@"',
        f'exec {" ".join(before)} {shlex.join(interpreter.words)} {module} "$@"',
    ]
    with tempfile.TemporaryDirectory(prefix="roam-bench-") as folder:
        launcher = Path(folder, "python")
        launcher.write_text("\n".join(lines) + "\n")
        launcher.chmod(0o755)
        was = os.environ.get("L3ROAMD_PYTHON")
        os.environ["L3ROAMD_PYTHON"] = str(launcher)
        try:
            yield
        finally:
            del os.environ["L3ROAMD_PYTHON"]
            if was is not None:
                os.environ["L3ROAMD_PYTHON"] = was
