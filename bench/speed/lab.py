# SPDX-License-Identifier: ISC
"""The whole path of a client in a lab: CLAT, two hops, PLAT, NAT66 and masquerade, with all rules and all daemons.

    laptop - a (clatnode) - exit (platnode) - internet         west - a - exit - east: plain IPv6 of the mesh

Plain IPv6 meets no rules of ours, for it is what a mesh without us would have; connection tracking stays.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.firewall import ALL, NODES, NONE, Tables, mesh
from bench.namespaces import BenchError
from bench.speed.cells import PLAIN, Say
from bench.speed.ends import Ends
from sdk.lab import WEB, Lab
from xlat464.address import format_ipv6

FAST = {"siit": False, "fast": True}
READY_S, FILL_S = 20, 300


@dataclass(frozen=True)
class LabMachine:
    """A machine of a lab, as the loads need it."""

    lab: Lab
    name: str

    def run(self, *words: str) -> str:
        return str(self.lab.exec(self.name, list(words)).stdout)

    def start(self, *words: str, **options: Any) -> subprocess.Popen:
        assert self.lab.machines
        return self.lab.machines.popen(self.name, words, **options)


class WholePath:
    """The lab as a topology."""

    name, variants = "lab", (PLAIN, *FAST)

    def __init__(self, lab: Lab, program: str) -> None:
        self.lab, self.program = lab, program
        self._tables = [Tables(lab, node) for node in NODES]
        self._is_fast, self._is_bare, self._roamed = True, False, 0

    def use(self, variant: str, links: str) -> Ends:
        self.leave_rules(variant != PLAIN)
        if variant == PLAIN:
            east = self.lab.plan.node_address(self.lab.node("east"))
            return Ends(LabMachine(self.lab, "west"), LabMachine(self.lab, "east"), "-", east, east)
        if FAST[variant] != self._is_fast:
            self.restart(FAST[variant])
        return Ends(LabMachine(self.lab, "laptop"), LabMachine(self.lab, "internet"), "-", WEB, WEB)

    def leave_rules(self, wanted: bool) -> None:
        if wanted == self._is_bare:
            for tables in self._tables:
                tables.leave(ALL if wanted else NONE)
            self._is_bare = not wanted

    def restart(self, is_fast: bool) -> None:
        """Have siit translate with its fast path, or without; its devices and rules stay."""
        assert self.lab.machines
        for node in NODES:
            self.lab.machines.stop(node, "siit")
            self.lab.machines.daemon(node, "siit", ["siit", "daemon", "--fast", "on" if is_fast else "off"])
        end_s = time.monotonic() + READY_S
        while not all(self.translates(node, is_fast) for node in NODES):
            if time.monotonic() > end_s:
                raise BenchError(f"siit did not start again within {READY_S} s")
            time.sleep(0.05)
        self._is_fast = is_fast

    def translates(self, node: str, is_fast: bool) -> bool:
        assert self.lab.machines
        done = self.lab.machines.exec(node, ["siit", "stat", "--json"], check=False)
        devices = json.loads(done.stdout)["devices"] if done.returncode == 0 else []
        return bool(devices) and all(d["attached"] and (d["fast"] == "on") == is_fast for d in devices)

    def daemons(self, variant: str) -> list[int]:
        assert self.lab.machines
        found = self.lab.machines.daemons()
        return [pid for node in NODES for pid in found[node].get("siit", [])]

    def have_roamed(self, count: int) -> None:
        """Have the exit's rules be those of so many clients that are elsewhere by now; never fewer than before."""
        if count == self._roamed:
            return
        assert self.lab.machines
        if "l3roamd" in self.lab.machines.daemons()["exit"]:
            self.lab.machines.stop("exit", "l3roamd")  # which would take away whom it does not know
        plat = format_ipv6(self.lab.plan.plat_prefix(self.lab.node("exit")))
        words = ["python", "-m", "bench.speed.roamed", plat, str(self._roamed), str(count)]
        self.lab.machines.exec("exit", words, timeout_s=FILL_S)
        self._roamed = count


@contextlib.contextmanager
def whole_path(program: str, say: Say) -> Iterator[WholePath]:
    with mesh(say) as lab:
        yield WholePath(lab, program)
