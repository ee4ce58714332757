# SPDX-License-Identifier: ISC
"""Metrics: what daemons say becomes Prometheus' text, whatever a hostile name has in it."""

import json
import re

from l3roamd_py.core import act
from sdk import dashboard
from server import cli, metrics
from siit.device import COUNTERS

LINE = re.compile(r'[a-z_0-9]+(\{([a-z]+="([^"\\\n]|\\.)*",?)+\})? -?[0-9.e+]+')
SIIT = {
    "devices": [
        {"name": "plat", "counters": {"translated": 2**63, "too-big": 3, "in4_bytes": 9}},
        {"name": "half"},
    ]
}
PREFIXD = {
    "candidates": 2,
    "chosen": "fddd::/96",
    "probe_counts": {"sent": 9, "answered": 8},
    "plats": [
        {"prefix": "fddd::/96", "metric": 352, "state": "good"},
        {"prefix": "x", "metric": 1, "state": "down"},
    ],
}
ROAMING = {
    "clients": [{"state": "SERVED"}, {"state": "SERVED"}, {"state": "ABSENT"}],
    "roams_total": 4,
    "counters": {
        "roams": 7,
        "absences": 1,
        "handoffs_to_25_ms": 4,
        "handoffs_to_500_ms": 2,
        "handoffs_longer": 1,
    }
    | {"handoffs_ms": 2345},
}


def samples():
    yield from metrics.of_version('1 "\\\n')
    yield from metrics.of_role("plat", True)
    yield from metrics.of_conntrack(5, 65536)
    yield from metrics.of_siit(SIIT)
    yield from metrics.of_prefixd(PREFIXD)
    yield from metrics.of_roaming(ROAMING)


def test_every_line_is_prometheuss_and_each_name_has_its_type_once():
    lines = metrics.text(samples()).splitlines()
    assert all(LINE.fullmatch(line) for line in lines if not line.startswith("#"))
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
    for name, kind in (line.split()[2:] for line in lines if line.startswith("# TYPE")):
        assert (kind == "counter") == name.endswith("_total")


def test_handoffs_are_counted_by_the_bounds_that_the_daemon_has():
    assert metrics.HANDOFF_MS == act.HANDOFF_MS
    assert not any("handoffs_" in line for line in metrics.text(samples()).splitlines())


def test_the_dashboard_asks_for_what_is_told():
    """Its names and labels; `make test-dashboard` has a real Prometheus answer it."""
    told = {(name, label) for sample in samples() for name, label in in_sample(sample)}
    for expression in dashboard.expressions():
        for name, matchers in re.findall(r"(xlat464_\w+)(?:{([^}]*)})?", expression):
            assert (name, None) in told, expression
            for label in re.findall(r"(\w+)[!=]~?", matchers):
                assert label == "instance" or (name, label) in told, expression


def in_sample(sample):
    name = sample.name + sample.part
    return [(name, None), *((name, label) for label, _ in sample.labels)]


def test_each_counter_of_siit_is_told_as_what_it_is():
    assert set(COUNTERS) > metrics.NOT_DROPS
    told = {name: metrics._of_counter("plat", name, 1).name for name in COUNTERS}
    assert told["in6_packets"] == "xlat464_translator_packets_total"
    assert told["write_error"] == told["igmp"] == "xlat464_translator_dropped_packets_total"
    assert set(told.values()) == {
        f"xlat464_translator_{each}_total" for each in ("packets", "bytes", "dropped_packets", "events")
    }


def test_what_is_told():
    told = metrics.text(samples()).splitlines()
    for line in (
        'xlat464_info{version="1 \\"\\\\\\n"} 1',
        "xlat464_conntrack_entries_limit 65536",
        'xlat464_translator_events_total{device="plat",event="translated"} 9223372036854775808',
        'xlat464_translator_dropped_packets_total{device="plat",reason="too-big"} 3',
        'xlat464_translator_bytes_total{device="plat",way="in4"} 9',
        'xlat464_exit_metric{plat="fddd::/96"} 352',
        'xlat464_exit_good{plat="x"} 0',
        'xlat464_clients{state="served"} 2',
        "xlat464_mapped_homes 4",
        "xlat464_roams_total 7",
        'xlat464_roaming_events_total{event="absences"} 1',
        'xlat464_handoff_seconds_bucket{le="0.01"} 0',
        'xlat464_handoff_seconds_bucket{le="0.025"} 4',
        'xlat464_handoff_seconds_bucket{le="0.5"} 6',
        'xlat464_handoff_seconds_bucket{le="1"} 6',
        'xlat464_handoff_seconds_bucket{le="+Inf"} 7',
        "xlat464_handoff_seconds_sum 2.345",
        "xlat464_handoff_seconds_count 7",
    ):
        assert line in told


def test_a_daemon_that_is_silent_or_another_takes_nothing_from_the_others(tmp_path, monkeypatch):
    def ask(path, question, seconds):
        if question == b"status":
            raise OSError(111, "refused")
        return json.dumps({"clients": 3}).encode() + b"\n"

    monkeypatch.setattr(cli.sockets, "ask", ask)
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "464xlat.prom"
    assert cli.main(["metrics", str(file)]) == 0
    told = file.read_text()
    assert "xlat464_info" in told
    assert "xlat464_clients" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["464xlat.prom"]
    assert len(told) < 20_000
