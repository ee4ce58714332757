# SPDX-License-Identifier: ISC
"""What a node of the mesh may forge of another node's client, for labs with a phone at node a."""

from l3roamd_py.core import wire
from l3roamd_py.core.token import Token
from xlat464.address import format_ipv6, parse_ipv4
from xlat464.node import management_address, node_client_address
from xlat464.rfc6052 import embed

SEND = """
import contextlib, socket, sys
for line in sys.stdin:
    source, destination, payload = line.split()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND: any source will do
        s.bind((source, 0))
        with contextlib.suppress(OSError):  # over links that lose packets babel may have no way for a moment
            s.sendto(bytes.fromhex(payload), (destination, 5523))
"""


def send(lab, node, messages):
    """Send datagrams from a node of the mesh: (source, destination, payload)."""
    lines = [f"{format_ipv6(source)} {format_ipv6(to)} {payload.hex()}\n" for source, to, payload in messages]
    lab.exec(node, ["python", "-c", SEND], stdin="".join(lines))


class Forger:
    """Node c, which serves neither client, and what it may know: MACs, addresses, prefixes."""

    def __init__(self, lab):
        self.lab = lab
        self.own = lab.plan.clat_prefix(lab.node("c"))
        self.address = management_address(self.own)
        self.victim = lab.client("phone").mac
        self.ipv4 = parse_ipv4(lab.lease("phone"))
        self.home = embed(lab.plan.clat_prefix(lab.node("a")), 96, self.ipv4)
        self.plat = lab.plan.plat_prefix(lab.node(lab.plat_of_client("phone")))
        self.node_client = node_client_address(
            lab.site.node_client_prefix6.network_address.packed, self.victim
        )
        self.at_a = management_address(lab.plan.clat_prefix(lab.node("a")))

    def message(self, body, nonce=7, extended=True):
        return wire.encode(wire.Header(self.address, nonce, extended=extended), body)

    def roam(self, token, at=None, lease_s=600):
        lease = wire.Lease(self.home, self.plat, lease_s, token)
        return self.message(wire.Roam(lease, at or embed(self.own, 96, self.ipv4)))

    def forgeries(self):
        exit_ = management_address(self.plat)
        nothing = Token(2**40, 2**31, bytes(16))
        claims = [
            (self.address, to, self.message(wire.Claim(self.victim), nonce, extended))
            for nonce, (to, extended) in enumerate(
                (to, extended) for to in (self.node_client, self.at_a) for extended in (True, False)
            )
        ]
        roams = [
            (self.address, exit_, self.roam(token, at, lease_s))
            for token in (wire.NO_TOKEN, nothing, Token(2**63, 2**32 - 1, b"\xff" * 16))
            for at in (None, self.home)
            for lease_s in (0, 1, 600)
        ]
        info = wire.Info(self.victim, (b"\0" * 10 + b"\xff\xff" + self.ipv4,), self.plat, 600)
        stray = [
            (self.address, self.at_a, self.message(info)),
            (self.address, self.at_a, self.message(wire.Ack(self.victim))),
            (self.address, self.at_a, b"\0"),
            (self.address, exit_, roams[0][2][:-5]),
            (self.address, exit_, roams[0][2] + b"\xff\0"),
        ]
        return claims + roams + stray
