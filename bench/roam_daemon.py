# SPDX-License-Identifier: ISC
"""What the roaming daemon takes of a node: flash, memory with 1,000 clients, and the CPU while nothing happens.

The clients are entries in the bridge's table and leases, as a node's kernel and DHCP server tell of them. On CPython
the daemon has what python3-light has. On MicroPython the longest collection of garbage is told, in a daemon of its own.
"""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.roam_interpreters import daemons_run_on, there, ways
from sdk.ipk import __main__ as ipk
from sdk.lab import Lab, LabError
from sdk.lab.topology_reader import parse_topology
from xlat464.address import format_mac

CLIENTS = 1000
SETTLED_S, IDLE_S = 5.0, 15.0
SOCKET = "/run/l3roamd.sock"
NODE = '[nodes.node]\nrole = "both"\n'
PORTS = 4  # of the bridge; no port may have all clients
LONGEST = "/run/longest_collection_us"  # which bench/roam_collections.py writes


def run(say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """Return what the module's text lists. Raises LabError when the lab does not do as it should."""
    found = flash(say)
    for interpreter, rules in ways(say):
        keys = interpreter.keys(rules)
        with daemons_run_on(interpreter), full_node(rules, say) as lab:
            found |= {keys + key: value for key, value in idle(lab).items()}
            say(f"{keys}: {found[keys + 'rss_kib']} KiB, {found[keys + 'idle_cpu_percent']} % of a CPU")
        if interpreter.prefix and rules == "nft":  # rules are nothing that a collection walks
            program = "bench/roam_collections.py"
            with daemons_run_on(interpreter, program=program), full_node(rules, say) as lab:
                time.sleep(SETTLED_S)
                found[keys + "gc_longest_ms"] = round(int(lab.running.read("node", LONGEST)) / 1000, 1)
    return found


def flash(say: Callable[[str], None]) -> dict[str, float]:
    """Return what the package of each interpreter takes, compressed as squashfs keeps it."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="roam-bench-") as folder:
        packages = {package.name: package for package in ipk.build(Path(folder), [], [ipk.IPV6])}
        for interpreter in there(say):
            package = packages.get(interpreter.package)
            if package is None:
                say(f"roam.{interpreter.prefix}flash_bytes: there is no package {interpreter.package}")
                continue
            compressed, installed = package.file.stat().st_size, package.files_bytes
            say(f"{package.name}: {installed} bytes installed, {compressed} compressed")
            found |= {
                f"roam.{interpreter.prefix}flash_bytes": compressed,
                f"roam.{interpreter.prefix}installed_bytes": installed,
            }
    return found


@contextlib.contextmanager
def full_node(rules: str, say: Callable[[str], None]) -> Iterator[Lab]:
    """A node that serves all the clients."""
    topology = parse_topology(f'[lab]\nrules = "{rules}"\n{NODE}', "the bench's node")
    with Lab(topology, name=f"bench-{os.getpid()}", log=say) as lab:
        while lab.plat_of("node") is None:
            time.sleep(0.1)
        add_clients(lab)
        wait_served(lab)
        yield lab


def idle(lab: Lab) -> dict[str, float]:
    """Return what its daemon takes once it has settled."""
    time.sleep(SETTLED_S)
    (pid,) = lab.running.daemons()["node"]["l3roamd"]
    begun, used = time.monotonic(), cpu_s(pid)
    time.sleep(IDLE_S)
    percent = (cpu_s(pid) - used) / (time.monotonic() - begun) * 100
    return {"rss_kib": rss_kib(pid), "idle_cpu_percent": round(percent, 2)}


def add_clients(lab: Lab) -> None:
    macs = [b"\x02\x99\x00\x00" + i.to_bytes(2, "big") for i in range(1, CLIENTS + 1)]
    first = lab.site.prefix4[256]
    for port in range(PORTS):
        lines = [
            f"ip link add port{port} type veth peer name clients{port}",
            f"ip link set clients{port} up",
            f"ip link set port{port} master br-client up",
        ]
        lab.script("node", lines)
    entries = [f"fdb add {format_mac(mac)} dev port{i % PORTS} master dynamic" for i, mac in enumerate(macs)]
    lab.exec("node", ["bridge", "-batch", "-"], stdin="\n".join(entries) + "\n")
    for i, mac in enumerate(macs):
        lab.running.ask("node", SOCKET, f"lease add {format_mac(mac)} {first + i} 3600")


def wait_served(lab: Lab) -> None:
    deadline = time.monotonic() + 60
    while (served := len(lab.roaming_status("node").get("clients", []))) < CLIENTS:
        if time.monotonic() > deadline:
            raise LabError(f"the daemon knows {served} of {CLIENTS} clients")
        time.sleep(0.2)


def rss_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        words = stat.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(json.dumps(run(say=lambda line: print(line, flush=True)), indent=1))
