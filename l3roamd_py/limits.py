# SPDX-License-Identifier: ISC
"""How much the daemon remembers on MicroPython: what fits into the heap, which does not grow. No I/O."""

OWN_WORDS = 80_000  # of code, and of the daemon without a client
# Of one client, measured with 1,000 in a daemon with nf_tables: 294 words with IPv4, 25 for each of three IPv6
# addresses. What a flood fills besides: a second MAC whose port is known (19), half a client that left (77), a quarter
# of one that was prepared (15), and 27 for each sender of whom it is counted how often it spoke, in five tables: four
# of clients, and two of half as many others.
CLIENT_WORDS, ROAM_WORDS = 294 + 3 * 25 + 19 + 77 + 15 + 5 * 27, 250
LEAST = 64
PLAT_SHARE = 8  # of a node with both roles: that part of the room is for who has roamed


def limits_of(heap_bytes: int, word_bytes: int, has_clat: bool, has_plat: bool) -> dict[str, int]:
    """Return the options of core/options.py that bound what is remembered."""
    room = max(0, heap_bytes // word_bytes - OWN_WORDS)
    for_roams = room if not has_clat else room // PLAT_SHARE if has_plat else 0
    clients = max(LEAST, (room - for_roams) // CLIENT_WORDS)
    return {
        "max_clients": clients,
        "max_ports": 2 * clients,
        "max_granted": clients,
        "max_departed": max(LEAST, clients // 2),
        "max_prepared": max(LEAST, clients // 4),
        "max_senders": max(LEAST, clients // 2),
        "max_claims": max(LEAST, clients // 4),
        "max_roams": max(LEAST, for_roams // ROAM_WORDS),
    }
