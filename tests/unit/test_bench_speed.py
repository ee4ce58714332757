# SPDX-License-Identifier: ISC
"""What the bench of the translators makes of what it measured, and what it says beside an earlier run."""

import json
import os
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import speed
from bench.namespaces import Node
from bench.speed import report
from bench.speed.cells import GROUPS, PLAIN, Cell, cells
from bench.speed.figures import figures
from bench.speed.goals import GOALS
from bench.speed.loads import LOADS, Sample, damaged_so_far
from sdk.netns import NetworkNamespace

WRONG_SUM = """
import socket, struct
sink = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sink.bind(("::1", 9))
sink.settimeout(0.05)
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP)
raw.sendto(struct.pack("!HHHH", 9, 9, 8, 0xbad), ("::1", 0))
try:
    sink.recv(1)
except TimeoutError:
    pass
"""
TCP = {name: Cell("two", "tcp1", name) for name in (PLAIN, "siit", "fast", "tayga")}
LISTS = {name: Cell("gro", "tcp1", name, "list") for name in (PLAIN, "siit", "fast")}
FOUND = {
    TCP[PLAIN]: [Sample(10e9, 2, 1), Sample(20e9, 4, 2), Sample(10e9, 2, 1)],
    TCP["siit"]: [Sample(5e9, 1, 1), Sample(16e9, 2, 2), Sample(6e9, 1, 1)],
    TCP["fast"]: [Sample(9e9, 2, 1.1), Sample(18e9, 4, 2.2), Sample(2e9, 2, 3)],
    TCP["tayga"]: [Sample(1e9, 1, 9), Sample(1e9, 1, 9), Sample(1e9, 1, 9)],
    LISTS[PLAIN]: [Sample(1e9, 1, 2)],
    LISTS["fast"]: [Sample(1e9, 1, 3)],
    LISTS["siit"]: [Sample(1e9, 1, 20)],
    Cell("gro", "tcp1", "siit", "gro"): [Sample(1e9, 1, 5)],
    Cell("two", "trips", PLAIN): [Sample(20, 3, 1, worst=30)],
    Cell("two", "trips", "fast"): [Sample(26, 3, 1, worst=90)],
    **{
        Cell("roamed", "udp64_mixed", variant, roamed=count): [Sample(1e5, 1, cpu_s)]
        for variant, count, cpu_s in (
            (PLAIN, 1, 2),
            ("fast", 1, 4),
            (PLAIN, 100_000, 4),
            ("fast", 100_000, 12),
        )
    },
    Cell("lab", "udp1400", "fast"): [Sample(1e5, 1, 5, reordered=70)],
    Cell("two", "udp64", "fast"): [Sample(1e5, 1, 5, reordered=3, damaged=2)],
}


def test_figures_are_medians_of_the_ratios_of_one_round():
    found = figures(FOUND)
    assert found["speed.tcp_two_vs_plain"] == 0.9
    assert found["speed.tcp_two_vs_plain_cpu"] == 1.1
    assert found["speed.user_tcp1_vs_plain"] == 0.6
    assert found["speed.user_tcp1_vs_plain_cpu"] == 2
    assert found["speed.tcp_vs_tayga"] == 9
    assert (found["speed.fraglist_cpu"], found["speed.fraglist_listed_cpu"]) == (1.5, 10)
    assert found["speed.fraglist_user_cpu"] == 2.5, "over links without lists, as the roles have it"
    assert (found["speed.rtt_two_us"], found["speed.rtt_two_p99_us"]) == (6, 60)
    assert (found["speed.reordered"], found["speed.damaged"]) == (3, 2)
    assert found["speed.roamed_100000_cpu"] == 1.5, "plain packets cost twice then"


def test_there_is_a_goal_for_each_figure_and_no_figure_of_what_was_not_measured():
    assert figures(FOUND).keys() <= {key for key, *_ in GOALS}
    assert figures({TCP[PLAIN]: FOUND[TCP[PLAIN]]}) == {"speed.reordered": 0, "speed.damaged": 0}


def test_a_group_has_each_load_on_each_variant_once_in_a_round(monkeypatch):
    monkeypatch.delenv("TAYGA", raising=False)  # another one is one more variant
    for group in GROUPS:
        table = cells(group, (PLAIN, "fast"))
        assert len(set(table)) == len(table)
    assert {cell.load for cell in cells("two", [PLAIN])} == LOADS.keys()


def test_the_drawing_is_of_all_variants_beside_plain():
    root = xml.fromstring(report.drawing(FOUND, "two"))
    words = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words.count("tcp1") == 1
    assert [words.count(name) for name in ("siit", "fast", "tayga", PLAIN)] == [1, 1, 1, 0]
    assert {"0.90", "0.60", "0.10"} <= set(words)


def test_the_table_has_spreads_and_all_units():
    lines = report.table(FOUND)
    (fast,) = (line for line in lines if line.startswith("two    tcp1") and "fast" in line)
    assert fast.split()[3:] == ["9.00", "Gbit/s", "0.90", "±0.17", "0.55", "s/GB", "1.10", "±0.47"]


def test_an_earlier_run_stands_beside(tmp_path):
    old = tmp_path / "old.json"
    old.write_text(json.dumps({"speed.tcp_two_vs_plain": 0.81}))
    lines = bench.table(figures(FOUND), bench.read_figures(str(old))).splitlines()
    (told,) = (line.split()[1:5] for line in lines if line.startswith("speed.tcp_two_vs_plain "))
    assert told == ["0.81", "0.90", "x", ">="]


@pytest.mark.parametrize("content", ["", "[1]", '{"a": "b"}', '{"a": true}'])
def test_what_is_no_result_is_refused(tmp_path, content):
    (tmp_path / "old.json").write_text(content)
    with pytest.raises(RuntimeError, match=r"old\.json is no result of this bench"):
        bench.read_figures(str(tmp_path / "old.json"))


def test_parts_of_speed_are_one_run():
    assert list(bench.plan(["speed.two", "speed.gro", "rules"], quick=True)) == ["rules", "speed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_a_packet_with_a_wrong_checksum_is_counted():
    """Sent to this machine itself, in a namespace of its own."""
    name = f"bench{os.getpid()}-sums"
    with NetworkNamespace(name):
        node = Node(name)
        assert damaged_so_far(node) == 0
        node.run(sys.executable, "-c", WRONG_SUM)
        assert damaged_so_far(node) == 1


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and TUN")
def test_one_short_round_gives_all_figures_of_a_group(tmp_path, monkeypatch):
    monkeypatch.delenv("TAYGA", raising=False)
    found = speed.run(groups=["gro"], quick=True, into=tmp_path)
    assert found["speed.fraglist_listed_cpu"] > 0  # how much is for the bench: other tests run beside
    assert {"speed.reordered", "speed.damaged"} <= set(found)
    assert found["speed.siit_rss_kib"] > 1000
    xml.parse(tmp_path / "speed-gro.svg")
    assert len(json.loads((tmp_path / "speed.json").read_text())) == len(cells("gro", "abcd"))
