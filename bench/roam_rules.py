# SPDX-License-Identifier: ISC
"""What roams cost a platnode: ours, and beside it, in the same run, the seed document's rules.

roam.roam_us_N          CPU time of one ROAM (datagram in, token check, maps in the kernel, ROAM_ACK out) that moves
                        a client again, while N clients have roamed
roam.roams_per_s        how many of these fit into a second of one core, as many at a time as the daemon takes
roam.xtables_roam_us    the same with iptables, where 1,000 clients have roamed and each has four flows
roam.seed_setup_ms_N    the seed's pairs of rules for N clatnodes, all at once, which is kinder than what it does
roam.seed_one_more_ms_N the pair of one more clatnode then
roam.seed_pps_N         packets a second through the platnode, each the first of a flow, of clients of N clatnodes
roam.maps_…             the same with ours, where all of it is one map

Three machines: mesh, exit, server; the exit has the NAT66 of a platnode. Times are CPU times where one process does
the work, so that a busy machine changes them less.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from l3roamd_py.core import wire
from l3roamd_py.core.actions import Send
from l3roamd_py.core.core import Core
from l3roamd_py.core.events import Datagram
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.options import Options
from l3roamd_py.core.token import Token
from l3roamd_py.netfilter import conntrack
from l3roamd_py.netfilter.choice import choose_rules
from l3roamd_py.netfilter.conntrack import Conntrack
from l3roamd_py.performer import Performer
from runtime.log import Log
from runtime.netlink import attribute, nested
from sdk.lab.machine import LabError, Machines
from sdk.seed_rules import SeedPlatRules
from xlat464.address import format_ipv6

if TYPE_CHECKING:
    from l3roamd_py.netfilter.rules import PlatRules

ROOT = Path(__file__).resolve().parent.parent
CLAT_RANGE = bytes.fromhex("fddd13371337") + bytes(10)
PLAT_RANGE = bytes.fromhex("fddd13381338") + bytes(10)
NODE_CLIENTS = bytes.fromhex("fd46464646460002") + bytes(8)
PLAT = PLAT_RANGE[:6] + bytes.fromhex("020000000001") + bytes(4)
CLIENT = bytes((10, 46, 1, 1))
HOME, AT, ELSEWHERE = 0xDD, 0xBB, 0xEE  # kinds of clatnodes: a byte of their MACs
LEASE_S = 3600
ROAMED = (100, 10_000, 100_000)
CLATNODES = (1, 100, 1000)
SAMPLE, TOGETHER, FILL = 1000, 32, 512
FLOWS_OF_CLIENT = 4  # that a ROAM with iptables has to move
FLOWS, ROUNDS = 20_000, 3
SERVER = PLAT[:12] + bytes((198, 51, 100, 7))


def clat(kind: int, number: int) -> bytes:
    """Return `CLAT::ipv4` of the client at a clatnode of that kind and number."""
    return CLAT_RANGE[:6] + bytes((2, kind)) + number.to_bytes(4, "big") + CLIENT


def mappings(count: int) -> Iterator[Mapping]:
    return (Mapping(clat(HOME, i), clat(AT, i), None, LEASE_S, i + 1) for i in range(count))


def our_rules(backend: str = "nft") -> "PlatRules":
    return choose_rules(backend)[1]("plat", PLAT)


def begin_flows(homes: list[bytes]) -> None:
    """Give clients flows in the kernel's connection tracking, as if the NAT66 had sent them out."""
    pool = PLAT[:12] + bytes((10, 23, 0, 9))
    track = Conntrack()
    try:
        for number, home in enumerate(homes):
            for flow in range(FLOWS_OF_CLIENT):
                track.netfilter.ask(
                    udp_flow(home, pool, 20_000 + flow, 1024 + FLOWS_OF_CLIENT * number + flow)
                )
    finally:
        track.close()


def udp_flow(client: bytes, pool: bytes, port: int, pool_port: int) -> bytes:
    """A message that makes an entry of a client's UDP flow to SERVER that goes out by an address of the pool."""
    udp = {conntrack.NUMBER: bytes((socket.IPPROTO_UDP,)), conntrack.DESTINATION_PORT: (7).to_bytes(2, "big")}
    original = {**udp, conntrack.SOURCE_PORT: port.to_bytes(2, "big")}
    answer = {
        **udp,
        conntrack.SOURCE_PORT: (7).to_bytes(2, "big"),
        conntrack.DESTINATION_PORT: pool_port.to_bytes(2, "big"),
    }
    parts = {
        conntrack.ORIGINAL: one_way(client, SERVER, original),
        conntrack.REPLY: one_way(SERVER, pool, answer),
        conntrack.STATUS: (conntrack.IS_NAT_SOURCE | conntrack.KEPT_STATUS).to_bytes(4, "big"),
        conntrack.TIMEOUT: (600).to_bytes(4, "big"),
    }
    return conntrack.create_entry(conntrack.Entry(parts), client)


def one_way(source: bytes, destination: bytes, protocol: dict[int, bytes]) -> bytes:
    ends = attribute(conntrack.SOURCE, source) + attribute(conntrack.DESTINATION, destination)
    ports = b"".join(attribute(kind, value) for kind, value in protocol.items())
    return nested(conntrack.TUPLE_ADDRESSES, ends) + nested(conntrack.TUPLE_PROTOCOL, ports)


# One ROAM


class Wire:
    """Where answers go: a real socket, and nobody behind it."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

    def send(self, destination: bytes, payload: bytes, source: bytes | None) -> None:
        self.socket.sendto(payload, ("::1", 9))


class Platnode:
    """The daemon's parts on a platnode, without its loop."""

    def __init__(self, roamed: int, backend: str) -> None:
        rules = our_rules(backend)
        rules.set_up()
        options = Options(CLAT_RANGE, PLAT_RANGE, NODE_CLIENTS, plat=PLAT)
        self.core, self.rules = Core(options), rules
        everybody = list(mappings(roamed))
        for i in range(0, roamed, FILL):
            for error in rules.map_clients(everybody[i : i + FILL]):
                if error:
                    raise error
        parts = (None, Wire(), None, None, rules, PLAT, None, time.monotonic, Log("bench"))
        # a platnode that is no clatnode asks nothing of the kernel but its rules
        self.performer = Performer(*parts)  # type: ignore[arg-type]
        self.core.restore(None, time.monotonic(), set(), everybody)
        self.grants: list[wire.TokenGrant] = []

    def hear(self, sender: bytes, body: wire.Body) -> None:
        source = sender[:12] + bytes((192, 0, 0, 1))
        payload = wire.encode(wire.Header(source, 1), body)
        for action in self.core.handle(Datagram(source, PLAT, payload), time.monotonic()):
            if isinstance(action, Send) and isinstance(body, wire.TokenRequest):
                answer = wire.decode(action.payload)[1]
                assert isinstance(answer, wire.TokenGrant), answer
                self.grants.append(answer)
            else:
                self.performer.perform(action)

    def tokens(self, count: int) -> list[Token]:
        self.grants.clear()
        for i in range(count):
            home = clat(HOME, i)
            self.hear(home, wire.TokenRequest(wire.Lease(home, PLAT, LEASE_S)))
        return [grant.lease.token for grant in self.grants]

    def roams_s(self, count: int, together: int, kind: int) -> float:
        """Move clients again; return the CPU seconds that each took."""
        tokens = self.tokens(count)
        platnode = self.core.platnode
        assert platnode is not None
        proofs = [platnode.prove(clat(kind, i)) for i in range(count)]
        begun = time.process_time()
        for i, (token, proof) in enumerate(zip(tokens, proofs, strict=True)):
            lease = wire.Lease(clat(HOME, i), PLAT, LEASE_S, token)
            self.hear(clat(kind, i), wire.Roam(lease, clat(kind, i), proof))
            if i % together == together - 1:
                self.performer.flush()
        self.performer.flush()
        took_s = time.process_time() - begun
        moved = sum(mapping.at[7] == kind for mapping in self.rules.mappings())
        if moved != count:
            raise LabError(f"{moved} of {count} ROAMs were carried out: {self.core.counters.sorted()}")
        return took_s / count


def measure_roams(roamed: int, backend: str) -> dict[str, float]:
    """In a namespace of its own: the cost of a ROAM with so many clients that have roamed."""
    node = Platnode(roamed, backend)
    if backend == "xtables":
        begin_flows([clat(AT, number) for number in range(roamed)])
    count = min(SAMPLE, roamed)
    alone_s = node.roams_s(count, 1, ELSEWHERE)
    together_s = node.roams_s(count, TOGETHER, AT + 1)
    return {"alone_us": alone_s * 1e6, "together_us": together_s * 1e6}


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
        machines = Machines.start(f"bench-{os.getpid()}", persistent=False)
        try:
            machines.boot("exit")
            told = in_machine(machines, "exit", "roams", str(roamed), "nft")
        finally:
            machines.end()
        say(
            f"{roamed} clients have roamed: one ROAM {told['alone_us']:.0f} us, {told['together_us']:.0f} in bulk"
        )
        found[f"roam.roam_us_{roamed}"] = round(told["alone_us"], 1)
        found["roam.roams_per_s"] = round(1e6 / told["together_us"])
    return {**found, **xtables_roams(say), **measure_rules(say)}


def xtables_roams(say: Callable[[str], None]) -> dict[str, float]:
    machines = Machines.start(f"bench-{os.getpid()}", persistent=False)
    try:
        machines.boot("exit")
        told = in_machine(machines, "exit", "roams", str(SAMPLE), "xtables")
    finally:
        machines.end()
    say(f"with iptables: one ROAM {told['alone_us']:.0f} us, {told['together_us']:.0f} in bulk")
    return {
        "roam.xtables_roam_us": round(told["alone_us"], 1),
        "roam.xtables_roams_per_s": round(1e6 / told["together_us"]),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["roams"]:
        print(json.dumps(measure_roams(int(sys.argv[2]), sys.argv[3])))
    elif sys.argv[1:2] == ["set-up"]:
        print(json.dumps(set_up(sys.argv[2], int(sys.argv[3]))))
    else:
        print(json.dumps(run(say=lambda line: print(line, flush=True)), indent=1))
