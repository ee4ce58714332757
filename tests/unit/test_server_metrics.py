# SPDX-License-Identifier: ISC
"""Metrics: what daemons say becomes Prometheus' text, whatever a hostile name has in it."""

import json
import re

from server import cli, metrics

LINE = re.compile(r'[a-z_0-9]+(\{([a-z]+="([^"\\\n]|\\.)*",?)+\})? -?[0-9.e+]+')
SIIT = {"devices": [{"name": "plat", "counters": {"translated": 2**63, "no_route": 0}}, {"name": "half"}]}
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
    "counters": {"roams": 7, "absences": 1},
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


def test_what_is_told():
    told = metrics.text(samples()).splitlines()
    for line in (
        'xlat464_info{version="1 \\"\\\\\\n"} 1',
        "xlat464_conntrack_entries_limit 65536",
        'xlat464_translator_events_total{device="plat",event="translated"} 9223372036854775808',
        'xlat464_exit_metric{plat="fddd::/96"} 352',
        'xlat464_exit_good{plat="x"} 0',
        'xlat464_clients{state="served"} 2',
        "xlat464_mapped_homes 4",
        "xlat464_roams_total 7",
        'xlat464_roaming_events_total{event="absences"} 1',
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
