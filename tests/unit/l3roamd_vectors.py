# SPDX-License-Identifier: ISC
"""The values behind the test vectors of docs/protocol.md: whoever changes the wire changes both."""

from l3roamd_py.core import wire
from l3roamd_py.core.token import TokenIssuer
from xlat464.address import parse_ipv4, parse_ipv6, parse_mac

SECRET = bytes(range(32))
CLIENT = parse_mac("02:aa:bb:cc:dd:ee")
IPV4 = parse_ipv4("10.46.3.4")
D = parse_ipv6("fddd:1337:1337:200:0:d::")[:12]
B = parse_ipv6("fddd:1337:1337:200:0:b::")[:12]
PLAT = parse_ipv6("fddd:1338:1338:200:0:c::")
HOME, AT = D + IPV4, B + IPV4
PEER = D + parse_ipv4("10.46.5.6")
NODE_A = parse_ipv6("fddd:1337:1337:200:0:a:c000:1")
NODE_B = B + parse_ipv4("192.0.0.1")
NODE_C = parse_ipv6("fddd:1338:1338:200:0:c:c000:1")
NODE_D = D + parse_ipv4("192.0.0.1")
LEGACY = parse_ipv6("fd00::5")
V6 = parse_ipv6("fd11::2aa:bbff:fecc:ddee")
MAPPED = bytes(10) + b"\xff\xff" + IPV4
NONCE = 0x01020304
TOKEN = TokenIssuer(SECRET).make(HOME, 5_000_000, 8600)
FRESH = TokenIssuer(SECRET).make(HOME, 5_100_000, 8700)
LEASE = wire.Lease(HOME, PLAT, 3600, TOKEN)
PROOF = TokenIssuer(SECRET).make(NODE_B, 4_900_000, 91_300)
BARE = wire.Lease(HOME, PLAT, 3600)


def by(sender: bytes, ttl: int = 1, extended: bool = True) -> wire.Header:
    return wire.Header(sender, NONCE, ttl, extended)


VECTORS = {
    "SEEK": (by(LEGACY, 255, False), wire.Seek(V6)),
    "CLAIM of version 0": (by(LEGACY, 1, False), wire.Claim(CLIENT)),
    "CLAIM": (by(NODE_B, 8), wire.Claim(CLIENT)),
    "INFO of version 0": (by(LEGACY, 1, False), wire.Info(CLIENT, (V6,))),
    "INFO": (by(NODE_A), wire.Info(CLIENT, (MAPPED, V6), PLAT, 3600, LEASE, NONCE)),
    "ACK": (by(NODE_B), wire.Ack(CLIENT)),
    "ROAM": (by(NODE_B), wire.Roam(LEASE, AT)),
    "ROAM with a proof": (by(NODE_B), wire.Roam(LEASE, AT, PROOF)),
    "ROAM_ACK that asks for a proof": (
        by(NODE_C),
        wire.RoamAck(wire.Lease(HOME, PLAT, 3600, PROOF), AT, NONCE, wire.NOT_PROVEN),
    ),
    "ROAM_ACK": (by(NODE_C), wire.RoamAck(wire.Lease(HOME, PLAT, 3600, FRESH), AT, NONCE, wire.OK)),
    "ROAM_ACK that refuses": (by(NODE_C), wire.RoamAck(BARE, AT, NONCE, wire.STALE, HOME)),
    "TOKEN_REQUEST": (by(NODE_D), wire.TokenRequest(BARE)),
    "TOKEN": (by(NODE_C), wire.TokenGrant(LEASE, NONCE, wire.OK)),
    "PREPARE": (by(NODE_B), wire.Prepare()),
    "EXPECT": (by(NODE_B), wire.Expect(AT, PROOF)),
    "TOKEN of a home that is mapped": (by(NODE_C), wire.TokenGrant(LEASE, NONCE, wire.OK, AT)),
    "SEEK for IPv4": (by(NODE_D, 32), wire.Seek(MAPPED)),
    "FOUND": (by(NODE_B), wire.Found(AT, NONCE)),
    "PAIR": (by(NODE_D), wire.Pair(PEER, AT, NONCE)),
    "INFO of a client that translates itself": (
        by(NODE_A),
        wire.Info(CLIENT, (V6,), PLAT, 0, None, NONCE, PLAT),
    ),
    "PAIRED": (by(NODE_B), wire.Paired(AT, PEER, NONCE)),
}
