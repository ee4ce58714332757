# SPDX-License-Identifier: ISC
"""What our firewall rules cost a packet: of a client on its way to the internet and back, and of the mesh's own.

    laptop - a (clatnode) - exit (platnode) - internet         west - a - exit - east: plain IPv6 of the mesh

All of it is the lab's, with the rules of both roles and of the roaming daemons, siit with its BPF fast path. So a
packet is on its way in one process alone, that of its sender, whose time for a burst is what it costs (bursts.c).

In each round a table of rules after the other is alone in the kernel, then all are, then none: nftables keeps a table
that is `dormant`, and no packet meets it. The NAT that every exit needs stays, as a table of the bench.

speed.rules_us                 what all rules add to a client's packet, the mean of both directions
speed.rules_out_us, _back_us   to the internet, from there
speed.plain_through_node_cpu   a plain packet through both nodes, against one that meets no rules of ours
speed.plain_rules_us           what they add to it

Connection tracking stays at the exit, with or without our rules: its NAT66 needs it.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sdk.lab import WEB, Lab
from sdk.lab.topology_reader import parse_topology
from xlat464.address import format_ipv6

ROOT = Path(__file__).resolve().parent.parent
ROUNDS, BURSTS, PORT = 9, 400, "9"
NODES = ("a", "exit")
NONE, ALL = "none", "all"
MESH = "\n".join(
    [
        *(f'[nodes.{name}]\nrole = "{role}"' for name, role in (("a", "clat"), ("exit", "plat"))),
        *(f'[nodes.{name}]\nrole = "plain"' for name in ("west", "east")),
        *(
            f'[[links]]\nbetween = ["{a}", "{b}"]'
            for a, b in (("west", "a"), ("a", "exit"), ("exit", "east"))
        ),
        '[clients.laptop]\nnode = "a"',
    ]
)
NAT = """
table ip6 bench {
    chain nat {
        type nat hook postrouting priority srcnat
        oifname "plat" ip6 saddr %s snat ip6 to [%s]
    }
}
table ip bench {
    chain nat {
        type nat hook postrouting priority srcnat
        oifname "wan" masquerade
    }
}
"""


class Sender:
    """bursts.c on a machine."""

    def __init__(self, lab: Lab, machine: str, *words: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        assert lab.machines
        self.what = f"`{' '.join(words)}` on {machine}"
        self.process = lab.machines.popen(machine, words, **pipes)

    def hear(self) -> str:
        assert self.process.stdout
        line: str = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.what} has ended")
        return line

    def us(self) -> float:
        """Send, and return the microseconds of a packet."""
        assert self.process.stdin
        print(BURSTS, file=self.process.stdin, flush=True)
        return float(self.hear().split()[0]) / 1000

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Tables:
    """The tables with rules of ours on a node, and which of them packets meet."""

    def __init__(self, lab: Lab, node: str) -> None:
        self.lab, self.node = lab, node
        listed = json.loads(lab.exec(node, ["nft", "-j", "list", "tables"]).stdout)["nftables"]
        found = [each["table"] for each in listed if "table" in each]
        self.tables = [(t["family"], t["name"]) for t in found]
        self.ours = [t for t in self.tables if t[1].startswith(("xlat464_", "l3roamd")) or t[1] == "mangle"]

    def names(self) -> list[str]:
        return [f"{self.node}: {family} {name}" for family, name in self.ours]

    def leave(self, variant: str) -> None:
        """Have packets meet only what the variant says: a table of ours by its name, ALL, or NONE."""
        lines = []
        for family, name in self.tables:
            is_met = variant in (ALL, f"{self.node}: {family} {name}") or (family, name) not in self.ours
            lines.append(f"add table {family} {name}" + ("" if is_met else " { flags dormant; }"))
        self.lab.exec(self.node, ["nft", "-f", "-"], stdin="\n".join(lines) + "\n")


@contextlib.contextmanager
def mesh(say: Callable[[str], None]) -> Iterator[Lab]:
    with Lab(parse_topology(MESH, "the bench's mesh"), name=f"bench-{os.getpid()}", log=say) as lab:
        lab.wait_ready()
        assert lab.machines
        for node in NODES:
            lab.machines.stop(node, "siit")
            lab.machines.daemon(node, "siit", ["siit", "daemon", "--fast", "on"])
        lab.wait_ready()
        pool = lab.plan.plat_prefix(lab.node("exit"))[:12] + lab.site.pool.network_address.packed
        nat = NAT % (lab.site.clat_range, format_ipv6(pool))
        lab.exec("exit", ["nft", "-f", "-"], stdin=nat)
        yield lab


def measure(rounds: int, say: Callable[[str], None]) -> dict[str, dict[str, list[float]]]:
    """By way (out, back, plain), then by variant: microseconds of a packet in each round."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rules-bench-"))
        program = f"{folder}/bursts"
        subprocess.run(["cc", "-O2", "-o", program, str(ROOT / "bench/bursts.c")], check=True)
        lab = stack.enter_context(mesh(say))

        def start(machine: str, kind: str, to: str) -> Sender:
            sender = Sender(lab, machine, program, kind, to, PORT)
            stack.callback(sender.end)
            return sender

        east = lab.plan.node_address(lab.node("east"))
        answers = [start("internet", "answer", WEB), start("east", "answer", east)]
        for each in answers:
            each.hear()
        ways = {"out": start("laptop", "send", WEB), "plain": start("west", "send", east), "back": answers[0]}
        for each in answers:
            each.hear()
        nodes = [Tables(lab, node) for node in NODES]
        variants = [*(name for node in nodes for name in node.names()), ALL, NONE]
        found: dict[str, dict[str, list[float]]] = {
            way: {variant: [] for variant in variants} for way in ways
        }
        for number in range(rounds):
            for variant in variants:
                for node in nodes:
                    node.leave(variant)
                for way, sender in ways.items():
                    found[way][variant].append(sender.us())
            say(f"round {number + 1} of {rounds}")
        for node in nodes:
            node.leave(ALL)
    return found


def added(us: dict[str, list[float]], variant: str) -> tuple[float, float]:
    """What a variant adds to none: the median of the rounds' differences, and half the distance of their quartiles."""
    differences = [one - other for one, other in zip(us[variant], us[NONE], strict=True)]
    quartiles = statistics.quantiles(differences, n=4)
    return statistics.median(differences), (quartiles[2] - quartiles[0]) / 2


def ratio(us: dict[str, list[float]]) -> float:
    return statistics.median(one / other for one, other in zip(us[ALL], us[NONE], strict=True))


def run(say: Callable[[str], None] = lambda line: None, rounds: int = ROUNDS) -> dict[str, float]:
    """Return what the module's text lists. Raises LabError when the machine lacks something."""
    found = measure(rounds, say)
    for way, us in found.items():
        say(f"{way}: {statistics.median(us[NONE]):.2f} us without our rules")
        for variant in us:
            if variant != NONE:
                say(f"{way}: {variant:32} +%.2f us, +-%.2f" % added(us, variant))
    out, back = added(found["out"], ALL)[0], added(found["back"], ALL)[0]
    return {
        "speed.rules_us": round((out + back) / 2, 2),
        "speed.rules_out_us": round(out, 2),
        "speed.rules_back_us": round(back, 2),
        "speed.plain_through_node_cpu": round(ratio(found["plain"]), 3),
        "speed.plain_rules_us": round(added(found["plain"], ALL)[0], 2),
    }


if __name__ == "__main__":
    print(json.dumps(run(lambda line: print(line, file=sys.stderr, flush=True)), indent=1))
