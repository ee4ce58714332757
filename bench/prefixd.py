# SPDX-License-Identifier: ISC
"""Measure prefixd: its size on a standalone MicroPython with 500 PLATs, and how fast it reads 10,000 routes.

`run()` returns {"prefixd.rss_kib", "prefixd.anon_kib", "prefixd.read_10000_routes_ms"}. Needs root,
and once apt's mirror. A scripted babeld hands out the routes. The size is taken after the worst that can be:
all metrics have changed at once, and then all PLATs were lost but not their routes.
"""

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from prefixd_lab import FakeBabeld, LineServer, Namespaces, Prefixd, plat, route  # noqa: E402
from waiting import wait_until  # noqa: E402

from bench import standalone_micropython  # noqa: E402

PLATS = 500
ROUTES = 10000
SETTLE_S = 8  # for many probes, verdicts and the garbage that they make


def run():
    """Return the three values."""
    python = " ".join(standalone_micropython.command())
    size = _measure_size(python)
    return {**size, "prefixd.read_10000_routes_ms": _measure_reading(python)}


def _plats(count):
    return [route(plat(0x1000 + i), 300 + i, route_id=0x564830100000 + 64 * i) for i in range(count)]


def _others(count):
    return [
        f"add route {0x564830000000 + 64 * i:x} prefix fddd:1337:1337:{i:x}:1:2::/96 from ::/0 installed yes "
        f"id 02:00:00:ff:fe:00:00:02 metric {256 + i % 512} refmetric 96 via fe80::{i % 7:x} if mesh-vpn\n"
        for i in range(count)
    ]


class _World:
    """A node with one link and a prefixd on it."""

    def __init__(self, python, table):
        self.spaces = Namespaces()
        self.folder = tempfile.TemporaryDirectory(prefix="prefixd-bench")
        source = "fddd:1337:1337:a::c000:1"
        self.spaces.add("node")
        self.spaces.run("node", "ip", "addr", "add", source + "/128", "dev", "lo")
        # every PLAT is this very node: all of them answer
        self.spaces.run("node", "ip", "-6", "route", "add", "local", "fddd:1337:1338::/48", "dev", "lo")
        folder = Path(self.folder.name)
        self.babel = FakeBabeld(folder / "babel", table)
        self.translator = LineServer(folder / "control")
        self.prefixd = Prefixd(
            self.spaces, "node", folder, python=python, source=source, probe_ipv4="192.0.2.1,192.0.2.2"
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.spaces.__exit__()
        self.translator.close()
        self.babel.close()
        self.folder.cleanup()


def _measure_size(python):
    with _World(python, _plats(PLATS) + _others(ROUTES - PLATS)) as world:
        wait_until(lambda: world.prefixd.candidates() == PLATS, what="reading the table")
        time.sleep(SETTLE_S)
        # everything changes at once, as when a link near us does, and then nothing answers any more
        for line in world.babel.table[:PLATS]:
            world.babel.say(line.replace("add", "change").replace("metric 3", "metric 13"))
        world.spaces.run("node", "ip", "-6", "route", "del", "local", "fddd:1337:1338::/48", "dev", "lo")
        time.sleep(SETTLE_S)
        assert world.prefixd.status()["candidates"] == PLATS
        return _read_size(world.prefixd.process.pid)


def _read_size(pid):
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        words = line.split()
        if words[0] in ("Rss:", "Anonymous:"):
            found[words[0]] = int(words[1])
    return {"prefixd.rss_kib": found["Rss:"], "prefixd.anon_kib": found["Anonymous:"]}


def _measure_reading(python):
    """Return the ms from babeld's `monitor` to the last of 10,000 routes, of which 500 are PLATs."""
    with _World(python, []) as world:
        wait_until(lambda: world.babel.monitored, what="the connection")
        lines = _others(ROUTES - PLATS)
        step = len(lines) // PLATS
        mixed = []
        for i, line in enumerate(_plats(PLATS)):
            mixed += [*lines[i * step : (i + 1) * step], line]
        begin = time.monotonic()
        world.babel.say("".join(mixed + lines[PLATS * step :]))
        wait_until(lambda: world.prefixd.candidates() == PLATS, what="reading the routes")
        return round((time.monotonic() - begin) * 1000, 1)


if __name__ == "__main__":
    print(run())
