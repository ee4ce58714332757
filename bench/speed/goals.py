# SPDX-License-Identifier: ISC
"""What the figures of bench/speed should be: key, unit, meaning, at least, at most."""

from bench.speed.cells import ROAMED

Row = tuple[str, str, str, float | None, float | None]


def least(key: str, meaning: str, bound: float | None = None) -> Row:
    return f"speed.{key}", "x", meaning, bound, None


def most(key: str, unit: str, meaning: str, bound: float | None = None) -> Row:
    return f"speed.{key}", unit, meaning, None, bound


GOALS: tuple[Row, ...] = (
    least("tcp_one_vs_plain", "one TCP stream, one translation by BPF, against plain IPv6", 0.95),
    most("tcp_one_vs_plain_cpu", "x", "CPU of its gigabyte, the same", 1.10),
    least("tcp_two_vs_plain", "one TCP stream through CLAT and PLAT, the same", 0.90),
    most("tcp_two_vs_plain_cpu", "x", "CPU of its gigabyte, the same", 1.15),
    least("tcp_lab_vs_plain", "the same on a lab's whole path, with NAT and all rules", 0.85),
    most("tcp_lab_vs_plain_cpu", "x", "CPU of its gigabyte, the same", 1.25),
    least("udp_mixed_vs_plain", "64 flows of small packets through both", 0.65),
    most("udp_mixed_vs_plain_cpu", "x", "CPU of a packet, the same"),
    least("udp64_lab_vs_plain", "small packets on a lab's whole path", 0.65),
    least("connect_two_vs_plain", "new connections a second through both"),
    most("connect_lab_vs_plain_cpu", "x", "CPU of a new connection on a lab's whole path"),
    most("rtt_one_us", "us", "added to a round trip by one translation"),
    most("rtt_two_us", "us", "added to a round trip by both", 8),
    most("rtt_two_p99_us", "us", "the same, 99th percentile"),
    most("rtt_lab_us", "us", "added to a round trip by a lab's whole path", 12),
    most("rtt_lab_p99_us", "us", "the same, 99th percentile"),
    most("fraglist_cpu", "x", "CPU of a gigabyte of TCP in lists, BPF, against plain", 1.15),
    most("fraglist_user_cpu", "x", "the same, siit in user space as the roles have it", 1.3),
    most("fraglist_listed_cpu", "x", "the same, as it would be without the roles"),
    least("tcp_vs_tayga", "one TCP stream through both by BPF, against tayga", 25),
    least("tcp_vs_new_tayga", "the same against the tayga that TAYGA names"),
    least("user_tcp_vs_tayga", "siit in user space, against tayga", 3),
    least("user_udp_mixed_vs_tayga", "the same, 64 flows of small packets"),
    least("user_tcp1_vs_plain", "siit in user space, one TCP stream, against plain", 0.80),
    most("user_tcp1_vs_plain_cpu", "x", "CPU of its gigabyte, the same"),
    least("user_tcp8_vs_plain", "siit in user space, eight TCP streams", 0.90),
    least("user_udp_mixed_vs_plain", "siit in user space, 64 flows of small packets"),
    most("user_rtt_one_us", "us", "siit in user space, added to a round trip by one"),
    most("user_rtt_two_us", "us", "the same, by both"),
    most("user_rtt_two_p99_us", "us", "the same, 99th percentile"),
    most("user_rtt_lab_us", "us", "the same, a lab's whole path"),
    *(
        most(
            f"roamed_{count}_cpu", "x", f"CPU of a small packet when {count:,} clients have roamed, against 1"
        )
        for count in ROAMED[1:]
    ),
    most("reordered", "", "whole packets that came after a later one of their flow", 0),
    most("damaged", "", "packets with a wrong checksum", 0),
    most("siit_rss_kib", "KiB", "siit's daemon after all this, resident"),
    most("tayga_rss_kib", "KiB", "tayga's"),
)
