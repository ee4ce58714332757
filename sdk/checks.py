# SPDX-License-Identifier: ISC
"""Checks that are printed as they end and counted at the end."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sdk.lab import LabError


class DemoError(RuntimeError):
    """A check found something other than it expected. The sentence is printed behind FAIL."""


@dataclass(frozen=True)
class Check:
    """The result of one check. ms is the wall-clock time of the whole check, or what it measured, milliseconds."""

    name: str
    ok: bool
    detail: str
    ms: int


class CheckRun:
    """Runs checks, prints them as they end and keeps them for the summary."""

    def __init__(self, colour: bool):
        self.checks: list[Check] = []
        self.begun = time.monotonic()
        self.green, self.red, self.dim, self.plain = (
            ("\033[32m", "\033[31m", "\033[2m", "\033[0m") if colour else ("", "", "", "")
        )

    def say(self, text: str) -> None:
        print(f"{self.dim}{time.monotonic() - self.begun:7.1f} s{self.plain}  {text}", flush=True)

    def check(self, name: str, work: Callable[[], str], ms: int | None = None) -> bool:
        """Run work, which returns the detail worth telling and raises DemoError or LabError when it is not so.

        ms: what was measured before, to be told instead of the time that work takes.
        """
        started = time.monotonic()
        try:
            ok, detail = True, work()
        except (DemoError, LabError) as error:
            ok, detail = False, str(error)
        ms = round((time.monotonic() - started) * 1000) if ms is None else ms
        self.checks.append(Check(name, ok, detail, ms))
        mark = f"{self.green}ok  {self.plain}" if ok else f"{self.red}FAIL{self.plain}"
        self.say(f"{mark} {name:34} {ms:6d} ms  {detail}")
        return ok

    def result(self) -> dict:
        passed = sum(check.ok for check in self.checks)
        return {
            "checks": [asdict(check) for check in self.checks],
            "passed": passed,
            "failed": len(self.checks) - passed,
        }
