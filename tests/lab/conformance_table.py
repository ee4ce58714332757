# SPDX-License-Identifier: ISC
"""All cases of the conformance table, who differs from them, and recordings of what came out of a translator."""

import json
import os
import time
from pathlib import Path

import conformance_4to6
import conformance_6to4
import conformance_addresses
from conformance import RULES, SECTIONS, brief

__all__ = ["CASES", "OTHERWISE", "RECORDINGS", "RULES", "SECTIONS", "brief", "keep", "recording"]

PARTS = (conformance_4to6, conformance_6to4, conformance_addresses)
CASES = {name: case for part in PARTS for name, case in part.CASES.items()}
RECORDINGS = Path(__file__).resolve().parent / "conformance"

# what a translator does instead, and where in its source
OTHERWISE = {
    ("nat46", "UDP to IPv6"): "copies the TTL as it is (nat46_ipv4_input)",
    ("nat46", "UDP to IPv4"): "copies the hop limit as it is (fill_v4hdr_from_v6hdr)",
    ("nat46", "a source outside the rule"): "maps every IPv4 address by RFC6052 (xlate_v4_to_v6)",
    ("nat46", "a destination outside the rule"): "does not look at v4's length (xlate_nat64_to_v4)",
    ("nat46", "a last fragment keeps its bytes"): "writes a checksum into it (ip6_update_csum)",
    ("nat46", "a large packet without DF comes in fragments"): "never fragments (nat46_ipv4_input)",
    ("nat46", "up to 1260 bytes may be fragmented"): "sets DF on all (nat46_ipv6_input)",
    (
        "nat46",
        "an error of a router that no rule maps",
    ): "takes the destination as source (pairs_xlate_v6_to_v4_outer)",
}


def keep(folder, target, version, found):
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
