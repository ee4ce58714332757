# SPDX-License-Identifier: ISC
"""On a platnode: clients that have roamed, in its rules as its roaming daemon leaves them.

python -m bench.speed.roamed PREFIX FROM TO
"""

import sys
from ipaddress import IPv6Address
from itertools import islice

from bench.roam_platnode import FILL, mappings
from l3roamd_py.netfilter.choice import choose_rules


def add(prefix: bytes, first: int, last: int) -> None:
    """Map the clients of these numbers, in rules that are there already."""
    rules = choose_rules("nft")[1]("plat", prefix)
    rules.set_up()
    every = islice(mappings(last), first, None)
    while some := list(islice(every, FILL)):
        for error in rules.map_clients(some):
            if error:
                raise error
    found = sum(1 for _ in rules.mappings())
    if found < last:
        raise RuntimeError(f"{found} of {last} clients are in the rules")


if __name__ == "__main__":
    add(IPv6Address(sys.argv[1]).packed, int(sys.argv[2]), int(sys.argv[3]))
