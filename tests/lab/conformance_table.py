# SPDX-License-Identifier: ISC
"""All cases of the conformance table, who differs from them, and recordings of what came out of a translator."""

import fnmatch
import json
import os
import time
from pathlib import Path

import conformance_4to6
import conformance_6to4
import conformance_addresses
from conformance import RULES, SECTIONS, brief

__all__ = ["CASES", "OTHERWISE", "RECORDINGS", "RULES", "SECTIONS", "brief", "recording", "save"]

PARTS = (conformance_4to6, conformance_6to4, conformance_addresses)
CASES = {name: case for part in PARTS for name, case in part.CASES.items()}
RECORDINGS = Path(__file__).resolve().parent / "conformance"

# what a translator does instead, where in its source, and in which cases (patterns of their names)
DIFFERENCES = {
    "nat46": {
        "copies the TTL, and tells nobody when it has run out (nat46_ipv4_input, fill_v4hdr_from_v6hdr)": (
            "UDP to IPv6",
            "UDP to IPv4",
            "a TTL that runs out is told",
            "a hop limit that runs out is told",
        ),
        "drops all options without a look (nat46_ipv4_input)": ("an unexpired source route is refused",),
        "checks neither addresses nor the header's checksum, which the kernel does where it routes": (
            "an illegal *",
            "a header whose checksum is wrong is dropped",
        ),
        "maps every IPv4 address by RFC6052, whatever v4 says (xlate_v4_to_v6, xlate_nat64_to_v4)": (
            "a source outside the rule",
            "a destination outside the rule",
        ),
        "never fragments, and checks no MTU (nat46_ipv4_input)": (
            "a large packet without DF comes in fragments",
            "fragments for a path that nobody knows have 1280 bytes at most",
            "DF and too big is told with the MTU for IPv4",
        ),
        "writes a checksum of each fragment alone into all of them (ip6_update_csum)": (
            "a last fragment keeps its bytes",
            "fragments of * join to a right checksum",
        ),
        "computes checksums anew, so what was damaged looks whole (ip6_update_csum)": (
            "a wrong checksum stays wrong",
        ),
        "treats IGMP as any protocol": ("IGMP is dropped",),
        "leaves the type at 3, in ICMPv6 Time Exceeded (nat46_fixup_icmp_dest_unreach)": (
            "unreachable: [!p]*",
            "unreachable: port",
            "unreachable: precedence cutoff",
        ),
        "leaves the MTU as it is, at least 1280 (nat46_fixup_icmp_dest_unreach)": (
            "Fragmentation Needed says *",
        ),
        "leaves the type at 12 (nat46_fixup_icmp_parameterprob)": (
            "parameter problem at byte *",
            "parameter problem of a field that IPv6 has not",
        ),
        "sends what it should drop, as No Next Header (nat46_fixup_icmp)": (
            "source quench is dropped",
            "redirect is dropped",
            "router advertisement is dropped",
            "timestamp is dropped",
            "information request is dropped",
            "address mask request is dropped",
            "an unknown type is dropped",
            "host precedence violation is dropped",
            "parameter problem: an option is missing",
        ),
        "leaves the packet in an ICMPv4 error as it is (nat46_fixup_icmp)": (
            "the packet in an error is translated and keeps its TTL",
            "the packet in an error keeps a right checksum",
            "an echo in an error becomes an echo",
            "a packet of which an error has eight bytes",
        ),
        "translates errors about errors": ("an error about an error*", "no error about an error*"),
        "sets DF on all but fragments (nat46_ipv6_input)": ("up to 1260 bytes may be fragmented",),
        "knows no extension header but Fragment (nat46_ipv6_input)": (
            "a Hop-by-Hop header is skipped",
            "Destination Options are skipped",
            "a Routing header *",
            "headers before the Fragment Header are skipped",
            "headers of the packet in an error go",
        ),
        "folds the identification to 16 bits, the same for all of a packet (fold_ipv6_frag_id)": (
            "a first fragment keeps its place, without DF",
            "a later fragment keeps its place and its bytes",
        ),
        "sends what it should drop, as ICMP of ICMPv6's type (nat46_ipv6_input)": (
            "unreachable from IPv6: rejected by source policy",
            "* from IPv6 is dropped",
            "an unknown option is dropped",
        ),
        "knows no link but its own": ("Packet Too Big says no more than IPv4's link can have",),
        "reads the pointer in the wrong byte order, unless it is 0 (nat46_fixup_icmp6_paramprob)": (
            "parameter problem from IPv6 at byte [1-9]*",
            "parameter problem of a field that IPv4 has not",
        ),
        "takes the destination as source (pairs_xlate_v6_to_v4_outer)": (
            "an error of a router that no rule maps",
        ),
        "has no hairpins": ("two servers with pairs *",),
    },
    "jool": {
        "has pool6 for each IPv4 address without a pair (address_xlat.c)": ("a source outside the rule",),
        "treats IGMP as any protocol": ("IGMP is dropped",),
        "translates errors about errors": ("an error about an error is dropped",),
        "refuses it, unless amend-udp-checksum-zero is set (4to6.c)": ("UDP without a checksum gets one",),
        "takes the class from the route's key, which has three bits of it (6to4.c)": (
            "TCP to IPv4 with its class",
        ),
    },
}
OTHERWISE = {
    (target, name): why
    for target, reasons in DIFFERENCES.items()
    for why, patterns in reasons.items()
    for name in CASES
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
}


def save(folder, target, version, found):
    """Write down what came, by target: for each case a digest of what was sent, and the packets."""
    folder.mkdir(parents=True, exist_ok=True)
    recorded = {
        "target": target,
        "version": version,
        "kernel": os.uname().release,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cases": {
            name: {"sent": CASES[name].digest, "came": [data.hex() for data in came]}
            for name, came in found.items()
        },
    }
    (folder / f"{target}.json").write_text(json.dumps(recorded, indent=1) + "\n")


def recording(target):
    """What was written down of a target, its packets as bytes, without cases that are not the table's any more."""
    file = RECORDINGS / f"{target}.json"
    if not file.exists():
        return None
    recorded = json.loads(file.read_text())
    recorded["cases"] = {
        name: [bytes.fromhex(data) for data in each["came"]]
        for name, each in recorded["cases"].items()
        if name in CASES and CASES[name].digest == each["sent"]
    }
    return recorded
