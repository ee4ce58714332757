# SPDX-License-Identifier: ISC
"""What the roaming daemon takes of a node that serves 1,000 clients: memory, and the CPU while nothing happens.

The clients are entries in the bridge's table and leases, as a node's kernel and DHCP server tell of them.
"""

import json
import os
import time
from collections.abc import Callable

from sdk.lab import Lab, LabError
from sdk.lab.topology_reader import parse_topology
from xlat464.address import format_mac

CLIENTS = 1000
SETTLED_S, IDLE_S = 5.0, 15.0
SOCKET = "/run/l3roamd.sock"
NODE = '[nodes.node]\nrole = "both"\n'
PORTS = 4  # of the bridge: one has no room for all of them


def run(say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """Return roam.rss_kib and roam.idle_cpu_percent. Raises LabError when the lab does not do as it should."""
    with Lab(parse_topology(NODE, "the bench's node"), name=f"bench-{os.getpid()}", log=say) as lab:
        while lab.plat_of("node") is None:
            time.sleep(0.1)
        add_clients(lab)
        served = wait_served(lab)
        time.sleep(SETTLED_S)
        (pid,) = lab.running.daemons()["node"]["l3roamd"]
        begun, used = time.monotonic(), cpu_s(pid)
        time.sleep(IDLE_S)
        percent = (cpu_s(pid) - used) / (time.monotonic() - begun) * 100
        say(f"{served} clients: {rss_kib(pid)} KiB, {percent:.2f} % of a CPU")
        return {"roam.rss_kib": rss_kib(pid), "roam.idle_cpu_percent": round(percent, 2)}


def add_clients(lab: Lab) -> None:
    macs = [b"\x02\x99\x00\x00" + i.to_bytes(2, "big") for i in range(1, CLIENTS + 1)]
    first = lab.site.prefix4[256]
    for port in range(PORTS):
        lab.script(
            "node",
            [
                f"ip link add clients{port} type veth peer name peer{port}",
                f"ip link set peer{port} up",
                f"ip link set clients{port} master br-client up",
            ],
        )
    entries = [
        f"fdb add {format_mac(mac)} dev clients{i % PORTS} master dynamic" for i, mac in enumerate(macs)
    ]
    lab.exec("node", ["bridge", "-batch", "-"], stdin="\n".join(entries) + "\n")
    for i, mac in enumerate(macs):
        lab.running.ask("node", SOCKET, f"lease add {format_mac(mac)} {first + i} 3600")


def wait_served(lab: Lab) -> int:
    deadline = time.monotonic() + 60
    while (served := len(lab.roaming_status("node").get("clients", []))) < CLIENTS:
        if time.monotonic() > deadline:
            raise LabError(f"the daemon knows {served} of {CLIENTS} clients")
        time.sleep(0.2)
    return served


def rss_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        words = stat.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(json.dumps(run(say=lambda line: print(line, flush=True)), indent=1))
