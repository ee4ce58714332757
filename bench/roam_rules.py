# SPDX-License-Identifier: ISC
"""What roams cost a platnode: ours, and beside it, in the same run, the seed document's rules.

roam.roam_us_N          CPU time of one ROAM (datagram in, token check, maps in the kernel, ROAM_ACK out) that moves
                        a client again, while N clients have roamed
roam.roams_per_s        how many of these fit into a second of one core, as many at a time as the daemon takes
roam.xtables_...        the same with iptables, where 1,000 clients have roamed and each has four flows
roam.micropython_...    the same on the oldest MicroPython, where 1,000 clients have roamed
roam.seed_setup_ms_N    the seed's pairs of rules for N clatnodes, all at once, which is kinder than what it does
roam.seed_one_more_ms_N the pair of one more clatnode then
roam.seed_pps_N         packets a second through the platnode, each the first of a flow, of clients of N clatnodes
roam.maps_…             the same with ours, where all of it is one map

Three machines: mesh, exit, server; the exit has the NAT66 of a platnode. Times are CPU times where one process does
the work, so that a busy machine changes them less.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.roam_interpreters import CPYTHON, Interpreter, daemons_run_on, ways
from bench.roam_platnode import AT, CLAT_RANGE, HOME, LEASE_S, PLAT, SERVER, clat, mappings, our_rules
from l3roamd_py.core.mapping import Mapping
from sdk.lab.machine import Machines
from sdk.seed_rules import SeedPlatRules
from xlat464.address import format_ipv6

if TYPE_CHECKING:
    from l3roamd_py.netfilter.rules import PlatRules

ROOT = Path(__file__).resolve().parent.parent
ROAMED = (100, 10_000, 100_000)
FEW = 1000
CLATNODES = (1, 100, 1000)
FLOWS, ROUNDS = 20_000, 3


# Pairs of rules and maps


def set_up(kind: str, count: int) -> dict[str, float]:
    """On the exit: the rules for clients of so many clatnodes; return the milliseconds of all and of one more."""
    every = [*mappings(count), Mapping(clat(HOME, count), clat(AT, count), None, LEASE_S, 1)]
    begun = time.monotonic()
    if kind == "seed":
        seed = SeedPlatRules("plat")
        seed.need_all([mapping.home for mapping in every[:-1]], [mapping.at for mapping in every[:-1]])
        members = [f"add {name} {format_ipv6(member)}" for name, member in seed.members(every[:-1])]
        subprocess.run(["ipset", "restore"], input="\n".join(members) + "\n", text=True, check=True)
        rules: PlatRules = seed
    else:
        rules = our_rules()
        rules.set_up()
        rules.map_clients(every[:-1])
    all_s = time.monotonic() - begun
    begun = time.monotonic()
    for error in rules.map_clients(every[-1:]):
        if error:
            raise error
    return {"setup_ms": all_s * 1000, "one_more_ms": (time.monotonic() - begun) * 1000}


def lay_path(machines: Machines) -> None:
    for one, device, other, peer in (("mesh", "mesh1", "exit", "mesh0"), ("exit", "plat", "server", "eth0")):
        words = ["ip", "link", "add", device, "netns", str(machines.pids[one]), "type", "veth"]
        words += ["peer", "name", peer, "netns", str(machines.pids[other])]
        subprocess.run(words, check=True)
    plat, clats = f"{format_ipv6(PLAT)}/96", f"{format_ipv6(CLAT_RANGE)}/48"
    for machine, lines in {
        "mesh": [*up("mesh1", "fe80::1"), f"ip -6 route add {plat} via fe80::2 dev mesh1"],
        "server": up("eth0", "fe80::1"),
        "exit": [
            "sysctl -qw net.ipv6.conf.all.forwarding=1 net.netfilter.nf_conntrack_udp_timeout=1",
            *up("mesh0", "fe80::2"),
            *up("plat", "fe80::2"),
            f"ip -6 route add {plat} via fe80::1 dev plat",
            f"ip -6 route add {clats} via fe80::1 dev mesh0",
            f"ip6tables -t nat -A POSTROUTING -o plat -s {clats} -p udp -j SNAT --to-source fd64::9",
        ],
    }.items():
        machines.exec(machine, ["sh", "-e"], stdin="\n".join(lines) + "\n")


def up(device: str, address: str) -> list[str]:
    return [f"ip link set {device} up", f"ip -6 addr add {address}/64 dev {device} nodad"]


def packets_per_s(machines: Machines, program: str, clatnodes: int) -> float:
    source, to = format_ipv6(clat(AT, 0)), format_ipv6(SERVER)
    rates = []
    for _ in range(ROUNDS):
        said = machines.exec("mesh", [program, source, str(clatnodes), to, "9", str(FLOWS)]).stdout
        rates.append(float(said.split()[2]))
        time.sleep(1.5)  # the flows end
    return statistics.median(rates)


def measure_rules(say: Callable[[str], None]) -> dict[str, float]:
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="roam-bench-") as folder:
        program = f"{folder}/udp_flows"
        subprocess.run(["cc", "-O2", "-o", program, str(ROOT / "bench/udp_flows.c")], check=True)
        for count in CLATNODES:
            for kind in ("maps", "seed"):
                machines = Machines.start(f"bench-{os.getpid()}", persistent=False)
                try:
                    for machine in ("mesh", "exit", "server"):
                        machines.boot(machine)
                    lay_path(machines)
                    told = in_machine(machines, "exit", "set-up", kind, str(count))
                    told["pps"] = packets_per_s(machines, program, count)
                finally:
                    machines.end()
                say(f"{kind}, {count} clatnodes: " + ", ".join(f"{k} {v:.1f}" for k, v in told.items()))
                found |= {f"roam.{kind}_{what}_{count}": round(value, 1) for what, value in told.items()}
    return found


def in_machine(machines: Machines, machine: str, *words: str) -> dict[str, float]:
    done = machines.exec(machine, ["python", "-m", "bench.roam_rules", *words], timeout_s=300)
    return json.loads(done.stdout)


def run(say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """Return what the module's text lists. Raises LabError when the machine lacks something."""
    found: dict[str, float] = {}
    for roamed in ROAMED:
        told = roams(CPYTHON, roamed, "nft", say)
        found[f"roam.roam_us_{roamed}"] = round(told["alone_us"], 1)
        found["roam.roams_per_s"] = round(1e6 / told["together_us"])
    for interpreter, rules in ways(say):
        if (interpreter, rules) != (CPYTHON, "nft"):
            told = roams(interpreter, FEW, rules, say)
            found[interpreter.keys(rules) + "roam_us"] = round(told["alone_us"], 1)
            found[interpreter.keys(rules) + "roams_per_s"] = round(1e6 / told["together_us"])
    return {**found, **measure_rules(say)}


def roams(interpreter: Interpreter, roamed: int, rules: str, say: Callable[[str], None]) -> dict[str, float]:
    """Return what one ROAM costs on it, in microseconds of CPU, when so many clients have roamed."""
    machines = Machines.start(f"bench-{os.getpid()}", persistent=False)
    try:
        machines.boot("exit")
        with daemons_run_on(interpreter, program="bench/roam_platnode.py"):
            done = machines.exec("exit", ["l3roamd_py", str(roamed), rules], timeout_s=300)
    finally:
        machines.end()
    told = json.loads(done.stdout)
    what = f"{interpreter.keys(rules)}: {roamed} clients have roamed"
    say(f"{what}: one ROAM {told['alone_us']:.0f} us, {told['together_us']:.0f} in bulk")
    return told


if __name__ == "__main__":
    if sys.argv[1:2] == ["set-up"]:
        print(json.dumps(set_up(sys.argv[2], int(sys.argv[3]))))
    else:
        print(json.dumps(run(say=lambda line: print(line, flush=True)), indent=1))
