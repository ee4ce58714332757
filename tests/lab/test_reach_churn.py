# SPDX-License-Identifier: ISC
"""A long run with churn: up after up, each with another description, some that fail, restarts of an end, callers all
the while. Nothing piles up in the kernel, in the programs that stay or in the state folder, and down leaves nothing.

REACH_CHURN in the environment makes it longer, by that factor; the same holds for the relay's own long run.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from reach_lab import CHURN, wait_until
from test_reach_apply import ENDS, PORTS, RELAY, WG, Site, call, keys, serve_tcp, servers, snapshot, tell

from reach import process

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("wireguard-go", "wg", "conntrack"))),
        reason="no wireguard-go, wireguard-tools or conntrack",
    ),
]
ROUNDS = max(2, round(2 * CHURN))
GROWTH_KIB = (
    4096  # of a program in Go, whose heap breathes; a leak of a kilobyte a call would be more in a longer run
)
CALLS = 20  # of each kind a round


@pytest.fixture
def site(tmp_path):
    with contextlib.ExitStack() as stack:
        for end in ("server", "attic"):
            keys.write(tmp_path / "keys", end)
        made = Site(stack, tmp_path)
        yield made
        made.down()
        while servers:
            servers.pop().close()


def processes(machine):
    """Those that run in a machine, by name: descriptors and KiB of each."""
    namespace = os.stat(f"/proc/{machine.pid}/ns/pid").st_ino
    found = {}
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (each / "comm").read_text().strip()
            if name not in ("wireguard-go", "reach-relay") or not process.started(int(each.name)):
                continue  # or a zombie, that nobody collects in this machine
            if os.stat(each / "ns/pid").st_ino == namespace:
                lines = (each / "status").read_text().splitlines()
                kib = int(next(line for line in lines if line.startswith("RssAnon")).split()[1])
                assert name not in found, f"two of {name}"
                found[name] = (len(list((each / "fd").iterdir())), kib)
    return found


def residue(site, machine):
    """What a machine has of ours that could pile up."""
    for ours in ("-D", "-F"):
        machine.run("conntrack", ours, check=False)
    counts = {
        "rules": len(machine.run("nft", "list", "ruleset").stdout.splitlines()),
        "policy": len(machine.run("ip", "rule").stdout.splitlines()),
        "routes": len(machine.run("ip", "route", "show", "table", "all").stdout.splitlines()),
        "devices": len(machine.run("ip", "-o", "link").stdout.splitlines()),
        "files": sorted(path.name for path in site.state(machine).iterdir()),
    }
    return counts, processes(machine)


def callers(site, failures):
    for _ in range(CALLS):
        try:
            assert call(site.caller, "203.0.113.7", 443) == "203.0.113.99"
            assert call(site.caller, "203.0.113.7", 8080).startswith("PROXY TCP4 203.0.113.99")
            with site.caller.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.sendto(b"x", ("203.0.113.7", 5060))
        except (OSError, AssertionError) as error:
            failures.append(repr(error))


def churn(site, number):
    """One round. Callers call while descriptions come and go, and not while an end restarts."""
    failures, another = [], 9000 + number % 2
    calling = threading.Thread(target=callers, args=(site, failures))
    calling.start()
    site.describe(ENDS + WG + PORTS + RELAY + f'[[publish]]\nudp = {another}\nto = "2001:db8:0:1::80"\n')
    site.reach(site.server, "up", "server", "--confirm-within", "60")
    site.reach(site.server, "confirm", "server")
    with site.server.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 9002))
        site.describe(ENDS + WG + PORTS + RELAY + '[[publish]]\nudp = 9002\nto = "2001:db8:0:1::80"\n')
        assert "9002" in site.reach(site.server, "up", "server", check=False).stderr
    calling.join()
    assert not failures
    site.describe(ENDS + WG + PORTS + RELAY)
    site.reach(site.home, "down", "attic")
    site.both_up()


def test_a_long_run_with_churn_piles_nothing_up(site):
    before = snapshot(site.server), snapshot(site.home)
    tell(site.host, 443)
    serve_tcp(site.site, "::", 8080, lambda connection: connection.sendall(connection.recv(99)))
    site.describe(ENDS + WG + PORTS + RELAY)
    site.both_up()
    churn(site, 0)
    first = residue(site, site.server), residue(site, site.home)
    for number in range(1, ROUNDS):
        churn(site, number)

    def has_settled():
        return processes(site.server)["reach-relay"][0] <= first[0][1]["reach-relay"][0]

    wait_until(has_settled, "the relay's descriptors are those of the first round")
    for machine, (counts, programs) in zip((site.server, site.home), first, strict=True):
        counts_now, programs_now = residue(site, machine)
        assert counts_now == counts
        for name, (descriptors, kib) in programs.items():
            assert programs_now[name][0] <= descriptors + 1, name
            assert programs_now[name][1] <= kib + GROWTH_KIB, name
    site.down()
    assert (snapshot(site.server), snapshot(site.home)) == before
    assert processes(site.server) == processes(site.home) == {}
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(site.state(site.server)) not in left
