# SPDX-License-Identifier: ISC
"""What a gigabyte of TCP costs where devices merge received packets into lists (fraglist GRO), as OpenWrt has it.

The path of siit.py, two translations, with GRO on all devices that receive from a link:

plain   IPv6 of the mesh, as lists
fast    siit with its BPF fast path, as lists
listed  siit in user space, as lists
siit    siit in user space, with `rx-gro-list` off, as the roles of a node have it (siit/gro_list.py)

The CPU time is that of the scheduler: of iperf3 at both ends, of both daemons, and of the kernel's threads for what
devices receive. What others do on the machine is in the last, so the medians of many rounds count.

speed.fraglist_cpu           fast against plain
speed.fraglist_user_cpu      siit against plain
speed.fraglist_listed_cpu    listed against plain: what happens without the roles
"""

import json
import resource
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from bench.siit import Node, path, tcp_bits_per_s

ROUNDS, SECONDS = 7, 2.0
VARIANTS = {
    "plain": ("plain", "on"),
    "fast": ("fast", "on"),
    "listed": ("siit", "on"),
    "siit": ("siit", "off"),
}


def scheduled_s(is_counted: Callable[[str], bool]) -> float:
    """CPU seconds so far of all threads of processes whose command line, or kernel thread whose name, counts."""
    total_ns = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text().replace("\0", " ") or (process / "comm").read_text()
            if is_counted(command):
                tasks = (process / "task").glob("[0-9]*/schedstat")
                total_ns += sum(int(task.read_text().split()[0]) for task in tasks)
        except OSError:
            continue  # it has ended
    return total_ns / 1e9


def children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_s_per_gb(nodes: dict[str, Node], folder: Path, variant: str) -> float:
    """Of one TCP stream from client to server; folder: the daemons'."""
    kind, lists = VARIANTS[variant]
    for node in nodes.values():
        for device in json.loads(node.run("ip", "-json", "link", "show", "type", "veth")):
            node.run("ethtool", "-K", device["ifname"], "gro", "on", "rx-gro-list", lists)
    daemons = f"siit daemon --socket {folder}/"

    def all_s() -> float:
        return children_s() + scheduled_s(lambda command: "ksoftirqd" in command or daemons in command)

    before_s = all_s()
    rate = tcp_bits_per_s(nodes, kind, SECONDS)
    return (all_s() - before_s) / (rate * SECONDS / 8e9)


def run(say: Callable[[str], None] = lambda line: None, rounds: int = ROUNDS) -> dict[str, float]:
    """Return what the module's text lists. Raises BenchError when the machine lacks something."""
    found: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    with path() as (nodes, program):
        for number in range(rounds):
            for variant in VARIANTS:
                found[variant].append(cpu_s_per_gb(nodes, program.parent, variant))
            told = ", ".join(f"{variant} {seconds[-1]:.2f}" for variant, seconds in found.items())
            say(f"round {number + 1} of {rounds}, CPU seconds of a gigabyte: {told}")

    def ratio(variant: str) -> float:
        return round(statistics.median(a / b for a, b in zip(found[variant], found["plain"], strict=True)), 2)

    return {
        "speed.fraglist_cpu": ratio("fast"),
        "speed.fraglist_user_cpu": ratio("siit"),
        "speed.fraglist_listed_cpu": ratio("listed"),
    }


if __name__ == "__main__":
    print(json.dumps(run(lambda line: print(line, file=sys.stderr, flush=True)), indent=1))
