# SPDX-License-Identifier: ISC
"""How a demo is told: checks that are printed as they end, and the client whose story it is."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sdk.lab import ECHO, WEB, Lab, LabError
from sdk.lab.services import PATTERN
from sdk.lab.topology import Role


class DemoError(RuntimeError):
    """A check found something else than it should; the sentence goes behind the cross."""


@dataclass(frozen=True)
class Check:
    """One line of the story. ms is the wall-clock time of the whole check, or what it measured, milliseconds."""

    name: str
    ok: bool
    detail: str
    ms: int


class Story:
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


def pattern_sha256(size: int) -> str:
    """SHA-256 of the size bytes that the lab's HTTP server sends for /bytes/size."""
    digest, block = hashlib.sha256(), PATTERN * 4096
    for _ in range(size // len(block)):
        digest.update(block)
    digest.update(block[: size % len(block)])
    return digest.hexdigest()


def phone_of(lab: Lab) -> str:
    """The client whose story is told: one whose node has no exit of its own, and uses what its node uses, if there is.

    A client of an older lease may use an exit that its node has left since.
    """
    clients = lab.topology.clients
    far = [client for client in clients if lab.node(client.node).role is Role.CLAT]
    candidates = far or list(clients)
    steady = [each for each in candidates if lab.plat_of_client(each.name) in (None, lab.plat_of(each.node))]
    return (steady or candidates)[0].name


class Phone:
    """A client of the lab, and what its owner does with it."""

    def __init__(self, lab: Lab, name: str):
        self.lab, self.name = lab, name
        self.node = lab.client(name).node  # where it is at home

    def do(self, *verb: str, timeout_s: float = 60) -> dict:
        """Run one verb of sdk.client; return its answer. Raises DemoError with what went wrong."""
        done = self.lab.exec(
            self.name, ["python", "-m", "sdk.client", *verb], check=False, timeout_s=timeout_s
        )
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            said = done.stderr.strip().splitlines()
            raise DemoError(f"sdk.client {verb[0]}: {said[-1] if said else 'no answer'}") from None
        if "error" in answer:
            raise DemoError(answer["error"])
        return answer

    def plat(self) -> str | None:
        """The platnode that the phone uses, by name: that of its lease, whatever its node uses by now."""
        return self.lab.plat_of_client(self.name) or self.lab.plat_of(self.node)

    def connect_anew(self, since_s: float, within_s: float) -> float:
        """Wait for a new connection to work; return the seconds since since_s (monotonic clock)."""
        answer = self.do("connects", ECHO, "7", str(within_s), timeout_s=within_s + 10)
        if answer["at_s"] is None:
            raise DemoError(f"no new connection within {within_s:g} s ({answer['attempts']} attempts)")
        return answer["at_s"] - since_s

    def download(self, size: int) -> str:
        answer = self.do("download", f"http://{WEB}/bytes/{size}", timeout_s=120)
        if answer["bytes"] != size or answer["sha256"] != pattern_sha256(size):
            raise DemoError(f"{answer['bytes']} of {size} bytes, SHA-256 {answer['sha256'][:16]}…")
        rate = size / answer["seconds"] / 1e6
        return f"{size / 1e6:.0f} MB in {answer['seconds']:.1f} s ({rate:.0f} MB/s), SHA-256 right"
