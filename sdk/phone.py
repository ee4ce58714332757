# SPDX-License-Identifier: ISC
"""The client of the lab that the demo uses, and what a user does on it."""

import hashlib
import json

from sdk.checks import DemoError
from sdk.lab import ECHO, WEB, Lab
from sdk.lab.services import PATTERN
from sdk.lab.topology import Role

FAILOVER_S = 3.0  # platnode lost without a word, until new connections work


def pattern_sha256(size: int) -> str:
    """SHA-256 of the size bytes that the lab's HTTP server sends for /bytes/size."""
    digest, block = hashlib.sha256(), PATTERN * 4096
    for _ in range(size // len(block)):
        digest.update(block)
    digest.update(block[: size % len(block)])
    return digest.hexdigest()


def choose_phone(lab: Lab) -> str:
    """Return the name of the client to test.

    If possible, its node is no exit, and client and node use the same exit. A client with an older lease may use
    an exit that its node no longer uses.
    """
    clients = lab.topology.clients
    far = [client for client in clients if lab.node(client.node).role is Role.CLAT]
    candidates = far or list(clients)
    steady = [each for each in candidates if lab.plat_of_client(each.name) in (None, lab.plat_of(each.node))]
    return (steady or candidates)[0].name


class Phone:
    """A client of the lab, with the actions of its user."""

    def __init__(self, lab: Lab, name: str):
        self.lab, self.name = lab, name
        self.node = lab.client(name).node  # where it starts

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
