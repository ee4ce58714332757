# SPDX-License-Identifier: ISC
"""A long run with churn: up after up, each with another description, some that fail, restarts of an end, callers all
the while. Nothing piles up in the kernel, in the programs that stay or in the state folder, and down leaves nothing.

REACH_CHURN in the environment makes it longer, by that factor; the same holds for the relay's own long run.
"""

import contextlib
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from reach_lab import CHURN, needs, wait_until
from reach_site import ENDS, PORTS, RELAY, WG, call, machines, serve_tcp, snapshot, tell

from reach import process

pytestmark = needs("wireguard-go", "wg", "conntrack")
ROUNDS = max(2, round(2 * CHURN))
GROWTH_KIB = (
    4096  # of a program in Go, whose heap breathes; a leak of a kilobyte a call would be more in a longer run
)
GO_THREADS = 4  # more than before, when many wait in the kernel at once
CALLS = 20  # of each kind a round
SHORT_S = 1  # what is over is tracked no longer
TRACKED = 8  # connections at most that the links themselves are
SUPERVISORS = {"sh", "sleep"}


@pytest.fixture
def site(tmp_path):
    with machines(tmp_path) as made:
        for machine in (made.server, made.home):
            forget_soon(machine)
        yield made
        made.down()


def forget_soon(machine):
    """What remains of a connection that has ended is gone in seconds; what has not ended stays for days."""
    of_tcp = ("syn_sent", "syn_recv", "fin_wait", "close_wait", "last_ack", "time_wait", "close")
    names = [*(f"tcp_timeout_{state}" for state in of_tcp), "udp_timeout", "udp_timeout_stream"]
    names += ["icmp_timeout", "icmpv6_timeout"]
    machine.run("sysctl", "-q", *(f"net.netfilter.nf_conntrack_{name}={SHORT_S}" for name in names))


def tracked(machine):
    """How many connections; to list them forgets what is over, to count them does not."""
    return len(machine.run("conntrack", "-L").stdout.splitlines())


def processes(machine):
    """Those that run in a machine, by name: descriptors, KiB and threads of each."""
    namespace = os.stat(f"/proc/{machine.pid}/ns/pid").st_ino
    found = {}
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name = (each / "comm").read_text().strip()
            if name not in ("wireguard-go", "reach-relay") or not process.started(int(each.name)):
                continue  # or a zombie, which no process collects in this machine
            if os.stat(each / "ns/pid").st_ino == namespace:
                lines = dict(line.split(":", 1) for line in (each / "status").read_text().splitlines())
                kib, threads = int(lines["RssAnon"].split()[0]), int(lines["Threads"])
                assert name not in found, f"two of {name}"
                found[name] = (len(list((each / "fd").iterdir())), kib, threads)
    return found


def supervisors(machine):
    """How many shells keep programs running, with whatever they wait in."""
    names = machine.run("ps", "-e", "-o", "comm=").stdout.split()
    return sum(name in SUPERVISORS for name in names)


def residue(site, machine):
    """The number of things of ours on a machine, which must not grow."""
    wait_until(lambda: tracked(machine) <= TRACKED, "what is over is tracked no longer")
    counts = {
        "supervisors": supervisors(machine),
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
        relay = process.running(site.state(site.server), "relay")
        assert "9002" in site.reach(site.server, "up", "server", check=False).stderr
        assert process.running(site.state(site.server), "relay") == relay, "its connections live in it"
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

    def is_closed():
        return processes(site.server)["reach-relay"][0] <= first[0][1]["reach-relay"][0]

    wait_until(is_closed, "the relay's descriptors are those of the first round")
    for machine, (counts, programs) in zip((site.server, site.home), first, strict=True):
        wait_until(
            lambda machine=machine, counts=counts: residue(site, machine)[0] == counts,
            f"return to {counts}; it was {residue(site, machine)[0]}",
        )
        programs_now = processes(machine)
        for name, (descriptors, kib, threads) in programs.items():
            assert programs_now[name][0] <= descriptors + 1, name
            assert programs_now[name][1] <= kib + GROWTH_KIB, name
            assert programs_now[name][2] <= threads + GO_THREADS * (name != "reach-relay"), name
    site.down()
    assert (snapshot(site.server), snapshot(site.home)) == before
    assert processes(site.server) == processes(site.home) == {}
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(site.state(site.server)) not in left
