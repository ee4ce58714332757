# SPDX-License-Identifier: ISC
"""babeld with the host routes of a large domain, in the mesh of twelve nodes: how long, how much, how large.

Each clatnode announces its share of the routes, a /128 for each client, as the roaming daemon makes them. Only babeld
runs on the nodes then, so that no other daemon takes the processors' time. All twelve share this machine's processors:
the time to converge is that of a machine that does the work of twelve.

converge_s    from the first route until every node's kernel has all of them
cpu_s         that the busiest babeld took for it
cpu_percent   of a CPU that the busiest takes afterwards, while nothing changes
rss_kib       of the largest
change_ms     from one more route until the node farthest from it has it, while nothing else changes
"""

import json
import os
import subprocess
import time
from collections.abc import Callable

from bench.roam_daemon import cpu_s, rss_kib
from sdk.lab import Lab, LabError, load_topology
from sdk.lab.plan import clatnodes

COUNTS = (1000, 10_000, 60_000)
CONVERGE_S, STEADY_S, CHANGE_S = 600.0, 60.0, 120.0
OTHERS = ("l3roamd", "prefixd")
CHANGES = 5
LOOK = "until ip -6 route get fibmatch {0} 2>/dev/null | grep -q '^{0}'; do :; done"


def run(say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """Return the figures. Of a number of routes that all nodes do not learn in time there are none, and it is said."""
    figures: dict[str, float] = {}
    for count in COUNTS:
        with Lab(load_topology("mesh12"), name=f"bench-{os.getpid()}", log=say) as lab:
            lab.wait_ready()
            for node in lab.topology.nodes:
                for daemon in OTHERS:
                    if daemon in lab.running.daemons()[node.name]:
                        lab.running.stop(node.name, daemon)
            found = measure(lab, count, say)
        figures |= {f"babel.routes_{count}_{name}": figure for name, figure in found.items()}
    return figures


def measure(lab: Lab, count: int, say: Callable[[str], None]) -> dict[str, float]:
    nodes = [node.name for node in lab.topology.nodes]
    pids = {name: lab.running.daemons()[name]["babeld"][0] for name in nodes}
    before = {name: routes_of(lab, name) for name in nodes}
    used = {name: cpu_s(pid) for name, pid in pids.items()}
    begun_s = time.monotonic()
    add_routes(lab, count)
    lacking = list(nodes)
    while lacking:
        if time.monotonic() > begun_s + CONVERGE_S:
            worst = min(routes_of(lab, name) - before[name] for name in lacking)
            say(
                f"babel: {len(lacking)} nodes do not have all {count} routes after {CONVERGE_S:g} s, one has {worst}"
            )
            return {}
        lacking = [name for name in lacking if routes_of(lab, name) < before[name] + count]
        time.sleep(0.1)
    converge_s = time.monotonic() - begun_s
    cpu = max(cpu_s(pid) - used[name] for name, pid in pids.items())
    steady = steady_percent(pids)
    found = {
        "converge_s": round(converge_s, 1),
        "cpu_s": round(cpu, 2),
        "cpu_percent": round(steady, 1),
        "rss_kib": max(rss_kib(pid) for pid in pids.values()),
        "change_ms": round(change_ms(lab)),
    }
    say(f"babel: {count} routes: {', '.join(f'{name} {figure}' for name, figure in found.items())}")
    return found


def routes_of(lab: Lab, node: str) -> int:
    """How many IPv6 routes a node's kernel has: the fourth figure of its statistics, in hexadecimal."""
    return int(lab.exec(node, ["cat", "/proc/net/rt6_stats"]).stdout.split()[3], 16)


def add_routes(lab: Lab, count: int) -> None:
    """Give each clatnode its share of the clients."""
    places = [node.name for node in clatnodes(lab.topology)]
    first = lab.site.prefix6.network_address + (1 << 32)
    for place, name in enumerate(places):
        share = range(place, count, len(places))
        lines = [f"route add {first + number}/128 dev br-client proto 158" for number in share]
        lab.exec(name, ["ip", "-6", "-batch", "-"], stdin="\n".join(lines) + "\n")


def steady_percent(pids: dict[str, int]) -> float:
    used, begun_s = {pid: cpu_s(pid) for pid in pids.values()}, time.monotonic()
    time.sleep(STEADY_S)
    return max(cpu_s(pid) - before for pid, before in used.items()) / (time.monotonic() - begun_s) * 100


def change_ms(lab: Lab) -> float:
    """Return how long one more route takes, on average."""
    places = [node.name for node in clatnodes(lab.topology)]
    near, far = places[0], places[len(places) // 2]
    total_s = 0.0
    for number in range(CHANGES):
        address = str(lab.site.prefix6.network_address + (2 << 32) + number)
        looking = lab.popen(far, ["sh", "-c", LOOK.format(address)])
        begun_s = time.monotonic()
        lab.exec(near, ["ip", "-6", "route", "add", f"{address}/128", "dev", "br-client", "proto", "158"])
        try:
            looking.wait(CHANGE_S)
        except subprocess.TimeoutExpired:
            looking.kill()
            raise LabError(f"{far} does not learn of a route within {CHANGE_S:g} s") from None
        total_s += time.monotonic() - begun_s
    return total_s / CHANGES * 1000


if __name__ == "__main__":
    print(json.dumps(run(say=lambda line: print(line, flush=True)), indent=1))
