# SPDX-License-Identifier: ISC
"""The limit of what guests may use of an exit's line: it is kept, limits no other traffic, comes, changes and goes."""

import itertools
import json
import re
import shutil
import subprocess
import sys
import textwrap

import pytest
from node_lab import EITHER_KIND, NEEDS, PLAT, stand_in_node
from setup_mesh import PRELUDE, SERVER, Mesh
from test_node_setup_jool import JOOL
from waiting import wait_until

pytestmark = NEEDS
UP, DOWN = 8, 16  # Mbit/s
LIMIT = f"--limit-up-kbit {UP}000 --limit-down-kbit {DOWN}000"


@pytest.fixture
def node(machines):
    return stand_in_node(machines("node"), "busybox ash")


def shaped(node) -> dict[str, str]:
    """The rate of each kind of packet that leaves the PLAT's device, as tc shows it."""
    tc = node.machine.output
    rates = dict(re.findall(r"class htb (464:\d) root .*? rate (\w+) ", tc("tc class show dev plat")))
    ways = re.findall(r"protocol (ipv?6?) .*flowid (464:\d)", tc("tc filter show dev plat"))
    assert len(ways) == len(rates)
    return {protocol: rates[name] for protocol, name in ways}


def untouched(node) -> list:
    """What a changed limit leaves: device, translator, and what waits in each class.

    That is an fq_codel where the kernel has it, as on routers and in the virtual machine.
    """
    tell = node.machine.output
    kinds = re.findall(r"qdisc (\w+) .*parent (464:\d)", tell("tc qdisc show dev plat"))
    return [tell("cat /run/siit/said"), tell("ip -o link show plat").split()[:2], sorted(kinds)]


def test_a_limit_comes_with_the_exit_and_goes_with_it(node):
    empty = node.snapshot()
    node.xlat(f"plat up {PLAT} {LIMIT}")
    assert shaped(node) == {"ipv6": "8Mbit", "ip": "16Mbit"}
    assert "shared out of wan, limit 8000 kbit/s up, 16000 down" in node.xlat("plat status").stdout
    before, said = node.snapshot(), node.machine.output("cat /run/siit/said")
    waiting = node.machine.output("tc -s qdisc show dev plat")
    assert "it is, with these settings" in node.xlat(f"plat up {PLAT} {LIMIT}").stdout
    assert (node.snapshot(), node.machine.output("cat /run/siit/said")) == (before, said)
    assert node.machine.output("tc -s qdisc show dev plat") == waiting
    node.xlat("plat down")
    assert node.snapshot() == empty
    assert "this line is not shared" in node.xlat("plat status").stdout


def test_a_changed_limit_is_carried_out_while_the_exit_stays_up(node):
    node.xlat(f"plat up {PLAT} {LIMIT}")
    before = untouched(node)
    for words, rates, said in (
        (
            "--limit-up-kbit 2500 --limit-down-kbit 64",
            {"ipv6": "2500Kbit", "ip": "64Kbit"},
            "limit 2500 kbit/s",
        ),
        ("--limit-up-kbit 1000", {"ipv6": "1Mbit", "ip": "10Gbit"}, "limit 1000 kbit/s up,"),
        ("--limit-down-kbit 9000000", {"ipv6": "10Gbit", "ip": "9Gbit"}, "limit 9000000 kbit/s down,"),
        ("", {"ipv6": "10Gbit", "ip": "10Gbit"}, "no limit"),
        (LIMIT, {"ipv6": "8Mbit", "ip": "16Mbit"}, "limit 8000 kbit/s up, 16000 down"),
    ):
        node.xlat(f"plat up {PLAT} {words}")
        assert shaped(node) == rates
        assert said in node.xlat("plat status").stdout
        assert untouched(node) == before


def test_without_a_limit_the_device_is_as_it_was(node):
    node.xlat(f"plat up {PLAT}")
    assert "htb" not in node.machine.output("tc qdisc show dev plat")
    assert "shared out of wan, no limit" in node.xlat("plat status").stdout
    assert "it is, with these settings" in node.xlat(f"plat up {PLAT} --limit-up-kbit 0").stdout


def test_jools_device_is_limited_as_well(node):
    node.machine.file("/run/bin/jool", JOOL, 0o755)
    node.xlat(f"plat up {PLAT} --engine jool {LIMIT}")
    assert shaped(node) == {"ipv6": "8Mbit", "ip": "16Mbit"}
    assert "limit 8000 kbit/s up, 16000 down" in node.xlat("plat status").stdout


def test_an_up_that_was_killed_while_it_limits_is_taken_over(node):
    node.xlat(f"plat up {PLAT}")
    node.machine.run("tc qdisc add dev plat root handle 464: htb")
    node.machine.run("tc class add dev plat parent 464: classid 464:6 htb rate 8mbit")
    before = untouched(node)[:2]
    node.xlat(f"plat up {PLAT} {LIMIT}")
    assert shaped(node) == {"ipv6": "8Mbit", "ip": "16Mbit"}
    assert untouched(node)[:2] == before


def test_a_limit_that_somebody_took_away_shows_and_comes_back(node):
    node.xlat(f"plat up {PLAT} {LIMIT}")
    node.machine.run("tc qdisc del dev plat root")
    assert "broken" in node.xlat("plat status", check=False).stdout
    node.xlat(f"plat up {PLAT} {LIMIT}")
    assert shaped(node) == {"ipv6": "8Mbit", "ip": "16Mbit"}
    assert "broken" not in node.xlat("plat status").stdout


def test_a_wrong_limit_gets_a_sentence_and_changes_nothing(node):
    node.xlat(f"plat up {PLAT} {LIMIT}")
    before = node.snapshot(), shaped(node)
    wrong = ("", "63", "-1", "1e4", "08000", "10000001", "8Mbit", "1;reboot", "99999999999999999999")
    for option, value in [*(("--limit-up-kbit", each) for each in wrong), ("--limit-down-kbit", "63")]:
        done = node.xlat(f"plat up {PLAT} {option}={value}", check=False)
        assert done.returncode == 2
        assert done.stderr == (
            f"464xlat: plat up: {option}: '{value}' is no number that fits, expected 64 to 10000000, or 0\n"
        )
    assert (node.snapshot(), shaped(node)) == before


def test_where_no_limit_can_be_set_nothing_is_shared_without_it(node):
    empty = node.snapshot()
    real = shutil.which("tc")
    node.machine.file(
        "/run/bin/tc",
        '#!/bin/sh\n[ "$2 $5" != "add root" ] || [ ! -e /run/no-htb ] || {\n'
        f'echo "Error: Specified qdisc kind is unknown." >&2; exit 2; }}\nexec {real} "$@"\n',
        0o755,
    )
    node.machine.run("touch /run/no-htb")
    done = node.xlat(f"plat up {PLAT} {LIMIT}", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the limit cannot be set (Error: Specified qdisc kind is unknown.)" in done.stderr
    assert "kmod-sched-core" in done.stderr
    assert node.snapshot() == empty
    # an exit that is up does not stay up without the limit that its owner wants now
    node.xlat(f"plat up {PLAT}")
    assert node.xlat(f"plat up {PLAT} {LIMIT}", check=False).returncode == 1
    assert node.snapshot() == empty


def test_a_node_without_tc_says_what_it_lacks(node):
    empty = node.snapshot()
    for program in ("ip", "nft", "flock"):
        folder = shutil.which(program).rsplit("/", 1)[0]
        node.machine.run(["sh", "-c", f"mkdir -p /run/few; ln -sf {folder}/* /run/few/; rm -f /run/few/tc"])
    node.shell = ["env", "PATH=/run/bin:/run/few", *node.shell]
    done = node.xlat(f"plat up {PLAT} {LIMIT}", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "there is no program tc, expected the package tc-tiny" in done.stderr
    assert node.snapshot() == empty
    node.xlat(f"plat up {PLAT}")


ports = itertools.count(5201)


def iperf(client, server, address, *words) -> float:
    """Mbit/s of TCP that the receiver gets, without the first second."""
    port = str(next(ports))
    listening = server.start(f"iperf3 --forceflush -s -1 -p {port}")
    wait_until(lambda: "listening" in listening.stdout.readline(), "iperf3's server")
    said = json.loads(
        client.output(["iperf3", "-J", "-c", address, "-p", port, "-O", "1", "-t", "2", *words], check=False)
    )
    assert "sum_received" in said["end"], said.get("error")
    return said["end"]["sum_received"]["bits_per_second"] / 1e6


def assert_near(mbits, limit):
    """A limit is of whole packets: headers are a part of it that no program sees."""
    assert limit * 6.5 / 8 <= mbits <= limit * 8.4 / 8


@pytest.mark.parametrize("firewall", EITHER_KIND)
def test_guests_get_what_the_limit_says_and_nobody_else_is_limited(machines, firewall):
    mesh = Mesh(machines, firewall)
    mesh.plat_node.xlat(f"plat up {mesh.plat_options} {LIMIT}")
    ping = mesh.client.start(f"ping -i 0.05 -q {SERVER}")
    if firewall == "nft":  # the queue is the same whichever it is
        assert_near(iperf(mesh.client, mesh.server, SERVER), UP)
        assert_near(iperf(mesh.client, mesh.server, SERVER, "-R"), DOWN)
    assert_near(iperf(mesh.client, mesh.server, SERVER, "-P", "6"), UP)
    assert_near(iperf(mesh.client, mesh.server, SERVER, "-P", "6", "-R"), DOWN)
    mesh.client.run("pkill -INT ping")
    sent, received, average_ms = map(
        float,
        re.search(
            r"(\d+) packets transmitted, (\d+) received.*= [\d.]+/([\d.]+)/", ping.stdout.read(), re.S
        ).groups(),
    )
    assert received > sent * 0.95
    assert average_ms < 250  # 50 ms of queue; without a bound it were 500 packets, 700 ms
    # the owner's own, and what nodes of the mesh say to each other
    quick = ("-O", "0", "-t", "1")
    assert iperf(mesh.plat, mesh.server, SERVER, *quick) > 10 * DOWN
    assert iperf(mesh.plat, mesh.clat, "fd00:1::1", *quick) > 10 * DOWN
    assert iperf(mesh.plat, mesh.clat, "fd00:1::1", "-R", *quick) > 10 * DOWN


# reads all the time, and says on each line what it got in two seconds from then on, Mbit/s
TALK = """
    import threading
    c, got = tcp(b"give %d" % (251 << 20)), 0
    def read():
        global got
        while data := c.recv(65536):
            got += len(data)
    threading.Thread(target=read, daemon=True).start()
    print("open", flush=True)
    for line in sys.stdin:
        before, start = got, time.monotonic()
        time.sleep(2)
        print((got - before) * 8 / 1e6 / (time.monotonic() - start), flush=True)
"""


def test_an_open_connection_goes_on_by_a_changed_limit(machines):
    mesh = Mesh(machines)
    mesh.plat_node.xlat(f"plat up {mesh.plat_options} --limit-down-kbit 4000")
    program = textwrap.dedent(PRELUDE) + textwrap.dedent(TALK)
    words = mesh.client.words([sys.executable, "-c", program])
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "open\n"

        def rate():
            client.stdin.write("\n")
            client.stdin.flush()
            return float(client.stdout.readline())

        for limit, least, most in (
            ("--limit-down-kbit 4000", 1, 4.5),
            ("--limit-down-kbit 32000", 20, 34),  # TCP needs a while to use it on a busy machine
            ("--limit-down-kbit 4000", 1, 4.5),  # what was on its way comes as well
            ("", 40, float("inf")),
        ):
            mesh.plat_node.xlat(f"plat up {mesh.plat_options} {limit}")
            wait_until(lambda: least < rate() < most, f"{least} to {most} Mbit/s with {limit or 'no limit'}")  # noqa: B023
        client.stdin.close()
