# SPDX-License-Identifier: ISC
"""What one ROAM costs a platnode, on either Python: the daemon's parts without its loop, in a namespace of their own.

    roam_platnode.py CLIENTS nft|xtables    prints JSON, CPU time: alone_us of one ROAM, together_us of one among many

So many clients have roamed before; some of them are moved again. With xtables each has flows, which have to move too.
"""

import json
import socket
import sys
import time

from l3roamd_py.core import wire
from l3roamd_py.core.actions import Send
from l3roamd_py.core.core import Core
from l3roamd_py.core.events import Datagram
from l3roamd_py.core.mapping import Mapping
from l3roamd_py.core.options import Options
from l3roamd_py.core.token import Token
from l3roamd_py.netfilter.choice import choose_rules
from l3roamd_py.netfilter.xtables import conntrack
from l3roamd_py.netfilter.xtables.conntrack import Conntrack
from l3roamd_py.performer import Performer
from runtime import IS_MICRO
from runtime.garbage import Garbage
from runtime.log import Log
from runtime.loop import BootClock
from runtime.netlink import attribute, nested
from runtime.sockets import ip6_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from l3roamd_py.netfilter.rules import PlatRules

CLAT_RANGE = bytes.fromhex("fddd13371337") + bytes(10)
PLAT_RANGE = bytes.fromhex("fddd13381338") + bytes(10)
NODE_CLIENTS = bytes.fromhex("fd46464646460002") + bytes(8)
PLAT = PLAT_RANGE[:6] + bytes.fromhex("020000000001") + bytes(4)
CLIENT = bytes((10, 46, 1, 1))
HOME, AT, ELSEWHERE = 0xDD, 0xBB, 0xEE  # kinds of clatnodes: a byte of their MACs
LEASE_S = 3600
TOGETHER, FILL = 32, 256
SAMPLE = {"nft": 1000, "xtables": 64}  # clients that are moved
FLOWS_OF_CLIENT = 4  # that a ROAM with xtables has to move
UDP = 17
SERVER = PLAT[:12] + bytes((198, 51, 100, 7))
NOBODY = ip6_address(bytes(15) + b"\1", 9)
now_s = BootClock().now_s
cpu_s = time.clock if IS_MICRO else time.process_time  # type: ignore[attr-defined]


def clat(kind: int, number: int) -> bytes:
    """Return `CLAT::ipv4` of the client at a clatnode of that kind and number."""
    return CLAT_RANGE[:6] + bytes((2, kind)) + number.to_bytes(4, "big") + CLIENT


def mappings(count: int) -> "Iterator[Mapping]":
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
    original = {
        conntrack.NUMBER: bytes((UDP,)),
        conntrack.DESTINATION_PORT: (7).to_bytes(2, "big"),
        conntrack.SOURCE_PORT: port.to_bytes(2, "big"),
    }
    answer = {
        conntrack.NUMBER: bytes((UDP,)),
        conntrack.SOURCE_PORT: (7).to_bytes(2, "big"),
        conntrack.DESTINATION_PORT: pool_port.to_bytes(2, "big"),
    }
    parts = {
        conntrack.ORIGINAL: one_way(client, SERVER, original),
        conntrack.REPLY: one_way(SERVER, pool, answer),
        conntrack.STATUS: (conntrack.IS_NAT_SOURCE | conntrack.COPIED_STATUS).to_bytes(4, "big"),
        conntrack.TIMEOUT: (600).to_bytes(4, "big"),
    }
    return conntrack.create_entry(conntrack.Entry(parts), client)


def one_way(source: bytes, destination: bytes, protocol: dict[int, bytes]) -> bytes:
    ends = attribute(conntrack.SOURCE, source) + attribute(conntrack.DESTINATION, destination)
    ports = b"".join(attribute(kind, value) for kind, value in protocol.items())
    return nested(conntrack.TUPLE_ADDRESSES, ends) + nested(conntrack.TUPLE_PROTOCOL, ports)


class Wire:
    """Where answers go: a real socket, and nobody behind it."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

    def send(self, destination: bytes, payload: bytes, source: bytes | None) -> None:
        self.socket.sendto(payload, NOBODY)


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
        parts = (None, Wire(), None, None, None, rules, PLAT, None, now_s, Log("bench"), None)
        # a platnode that is no clatnode asks nothing of the kernel but its rules
        self.performer = Performer(*parts)  # type: ignore[arg-type]
        self.core.restore(None, now_s(), set(), everybody)
        self.grants: list[wire.TokenGrant] = []
        self.garbage = Garbage()

    def hear(self, sender: bytes, body: wire.Body) -> None:
        source = sender[:12] + bytes((192, 0, 0, 1))
        payload = wire.encode(wire.Header(source, 1), body)
        for action in self.core.handle(Datagram(source, PLAT, payload), now_s()):
            if isinstance(action, Send) and isinstance(body, wire.TokenRequest):
                answer = wire.decode(action.payload)[1]
                assert isinstance(answer, wire.TokenGrant), answer
                self.grants.append(answer)
            else:
                self.performer.perform(action)

    def end_round(self) -> None:
        self.performer.flush()
        self.garbage.ready(self, 0)  # type: ignore[arg-type]

    def ready(self, timeout_ms: int) -> list[int]:
        """In the place of a poller: nothing is to be waited for."""
        return []

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
        begun = cpu_s()
        for i, token in enumerate(tokens):
            lease = wire.Lease(clat(HOME, i), PLAT, LEASE_S, token)
            self.hear(clat(kind, i), wire.Roam(lease, clat(kind, i), proofs[i]))
            if i % together == together - 1:
                self.end_round()
        self.end_round()
        took_s = cpu_s() - begun
        moved = sum(mapping.at[7] == kind for mapping in self.rules.mappings())
        if moved != count:
            raise RuntimeError(f"{moved} of {count} ROAMs were carried out: {self.core.counters.sorted()}")
        return took_s / count


def measure_roams(roamed: int, backend: str) -> dict[str, float]:
    """In a namespace of its own: the cost of a ROAM with so many clients that have roamed."""
    node = Platnode(roamed, backend)
    if backend == "xtables":
        begin_flows([clat(AT, number) for number in range(roamed)])
    count = min(SAMPLE[backend], roamed)
    alone_s = node.roams_s(count, 1, ELSEWHERE)
    together_s = node.roams_s(count, TOGETHER, AT + 1)
    return {"alone_us": alone_s * 1e6, "together_us": together_s * 1e6}


if __name__ == "__main__":
    print(json.dumps(measure_roams(int(sys.argv[1]), sys.argv[2])))
