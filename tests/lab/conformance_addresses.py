# SPDX-License-Identifier: ISC
"""The cases of addresses: RFC 6052's prefixes, RFC 7757's pairs."""

from conformance import CLIENT4, CLIENT6, CLIENTS, CLIENTS_EAM, RULES, SERVER4, Rules, case, one, remote
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

EMBEDDED = {  # RFC 6052 section 2.4
    "2001:db8::/32": "2001:db8:c000:221::",
    "2001:db8:100::/40": "2001:db8:1c0:2:21::",
    "2001:db8:122::/48": "2001:db8:122:c000:2:2100::",
    "2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
    "2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100:0",
    "2001:db8:122:344::/96": "2001:db8:122:344::c000:221",
}
INSIDE = "192.0.2.33"
DATA = UDP(sport=1, dport=2) / b"x"
PAIR = "local.v4 10.1.0.9/32 local.v6 fd00:99::9/128 local.style NONE"
SERVERS = tuple(
    f"local.v4 0.0.0.0/0 local.v6 ::/0 local.style NONE "
    f"remote.v4 192.0.2.{i}/32 remote.v6 fd00:{i}::{i}/128 remote.style NONE"
    for i in (1, 2)
)
WORLD = "local.v4 0.0.0.0/0 local.v6 fd00:64:2::/96 local.style RFC6052"
RULES.update(
    {
        **{prefix: Rules((f"{CLIENTS} {remote(prefix)}",), prefix, (CLIENTS_EAM,)) for prefix in EMBEDDED},
        "pairs": Rules(
            (f"{PAIR} {remote('fd00:64:2::/96')}", f"{CLIENTS} {remote('fd00:64:2::/96')}"),
            "fd00:64:2::/96",
            ("10.1.0.9/32 fd00:99::9/128", CLIENTS_EAM),
        ),
        "data centre": Rules(
            (*SERVERS, WORLD),
            "fd00:64:2::/96",
            tuple(f"192.0.2.{i}/32 fd00:{i}::{i}/128" for i in (1, 2)),
            IP(src="203.0.113.5", dst="192.0.2.1") / UDP(sport=9, dport=9),
        ),
    }
)


def goes(src, dst):
    return one(lambda p: (p.src, p.dst) == (src, dst))


PREFIXES = {
    **{
        f"to a prefix of {prefix.partition('/')[2]} bits": case(
            "6052", IP(src=CLIENT4, dst=INSIDE) / DATA, goes(CLIENT6, inside), prefix
        )
        for prefix, inside in EMBEDDED.items()
    },
    **{
        f"from a prefix of {prefix.partition('/')[2]} bits": case(
            "6052", IPv6(src=inside, dst=CLIENT6) / DATA, goes(INSIDE, CLIENT4), prefix
        )
        for prefix, inside in EMBEDDED.items()
    },
    "bits 64 to 71 and the suffix do not matter": case(
        "6052",
        IPv6(src="2001:db8:1c0:2:ff21:1:2:3", dst=CLIENT6) / DATA,
        goes(INSIDE, CLIENT4),
        "2001:db8:100::/40",
    ),
}
PAIRS = {
    "an address with a pair of its own, from IPv4": case(
        "7757", IP(src="10.1.0.9", dst=SERVER4) / DATA, goes("fd00:99::9", "fd00:64:2::c633:6407"), "pairs"
    ),
    "an address with a pair of its own, from IPv6": case(
        "7757", IPv6(src="fd00:64:2::c633:6407", dst="fd00:99::9") / DATA, goes(SERVER4, "10.1.0.9"), "pairs"
    ),
    "its neighbour has the prefix": case(
        "7757",
        IP(src="10.1.0.8", dst=SERVER4) / DATA,
        goes("fd00:64:1::a01:8", "fd00:64:2::c633:6407"),
        "pairs",
    ),
    "a server with a pair is reached by its IPv4 address": case(
        "7757",
        IP(src="203.0.113.5", dst="192.0.2.1") / DATA,
        goes("fd00:64:2::cb00:7105", "fd00:1::1"),
        "data centre",
    ),
    "a server with a pair answers from its IPv4 address": case(
        "7757",
        IPv6(src="fd00:1::1", dst="fd00:64:2::cb00:7105") / DATA,
        goes("192.0.2.1", "203.0.113.5"),
        "data centre",
    ),
    "two servers with pairs reach each other by IPv4 (section 4)": case(
        "7757",
        IPv6(src="fd00:1::1", dst="fd00:64:2::c000:202") / TCP(sport=1, dport=2) / b"hairpin",
        goes("fd00:64:2::c000:201", "fd00:2::2"),
        "data centre",
    ),
}
CASES = {**PREFIXES, **PAIRS}
