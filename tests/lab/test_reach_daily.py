# SPDX-License-Identifier: ISC
"""What people do with a link day by day: telephone, ask for names, send large packets, restart either end.

The machines are those of test_reach_apply.
"""

import contextlib
import shutil
import socket
import subprocess
import threading

import pytest
import reach_site
from reach_day import SIP_PORT, answers, ask, caller_learns, reboot, resolvconf_at, serve_names, telephone
from reach_lab import needs, wait_until
from reach_site import ENDS, HOST, HUB_AT_HOME, PORTS, WG, WHOLE, serve_tcp

pytestmark = needs("wireguard-go", "wg", "conntrack", "dnsmasq", "sipp")
net, site = reach_site.net, reach_site.site
LAPTOP = ENDS.replace("[home", "[client.laptop]\n[home")
PHONE, PROXY = "198.18.0.2", "198.18.0.1"  # in the network without NAT


def hub_at_home(site):
    site.describe(LAPTOP + HUB_AT_HOME)
    site.at_once("up", (site.server, "server"), (site.home, "attic"), (site.caller, "laptop"))
    wait_until(lambda: answers(site.caller, PROXY), "the hub answers the laptop")


def sipp_calls(site):
    """Twenty whole calls, INVITE to BYE, with the addresses that sipp writes into them itself."""
    common = ("-nostdin", "-p", SIP_PORT, "-m", 20, "-trace_err", "-error_file", "/run/sipp.errors")
    called = subprocess.Popen(
        site.home.command("sipp", "-sn", "uas", "-i", PROXY, *common), stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: f"{PROXY}:{SIP_PORT}" in site.home.run("ss", "-unl").stdout, "it listens")
        calling = ("-i", PHONE, *common, "-r", 20, "-timeout", "60s", f"{PROXY}:{SIP_PORT}")
        site.caller.run("sipp", "-sn", "uac", *calling)
        assert called.wait(60) == 0
    finally:
        called.kill()
        called.wait()


def test_a_phone_registers_is_called_and_hears_through_the_network_without_nat(site):
    hub_at_home(site)
    telephone(site.home, PROXY, site.caller, PHONE)
    sipp_calls(site)


@pytest.fixture
def resolvconf(site):
    with resolvconf_at(site.caller):
        yield


def test_names_of_the_home_are_asked_over_the_link(site, resolvconf):
    """The home's router knows them; the hub passes questions on, and the laptop's system is told of the hub."""
    serve_names(site.host, "nas.fritz.box", "192.168.1.30")
    names = f'dns_upstream = "{HOST}"\ndomain = "fritz.box"\n'
    site.describe(LAPTOP + HUB_AT_HOME.replace("[[publish]]", f"{names}[[publish]]"))
    site.at_once("up", (site.server, "server"), (site.home, "attic"), (site.caller, "laptop"))
    wait_until(lambda: answers(site.caller, PROXY), "the hub answers the laptop")
    assert ask(site.caller, PROXY, "nas.fritz.box") == "192.168.1.30"
    told = site.caller.run("cat", "/run/resolvconf.said").stdout
    assert told == f"-a wg0 -m 0 -x\nnameserver {PROXY}\nsearch fritz.box\n"
    site.reach(site.caller, "down", "laptop")
    assert site.caller.run("tail", "-n1", "/run/resolvconf.said").stdout == "-d wg0\n"
    # the hub answers only inside the link
    with contextlib.suppress(OSError):  # refused, or no answer
        assert ask(site.site, "2001:db8:0:1::20", "nas.fritz.box", 1) != "192.168.1.30"


def test_without_a_program_for_names_up_says_so_and_changes_nothing(site):
    if shutil.which("resolvconf") or shutil.which("resolvectl"):
        pytest.skip("this machine has one")
    site.describe(LAPTOP + HUB_AT_HOME.replace("[[publish]]", f'dns = "{HOST}"\n[[publish]]'))
    done = site.reach(site.caller, "up", "laptop", check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "reach: names by wg0: neither systemd-resolved nor resolvconf is there; install openresolv, or leave dns out;"
        " nothing was changed"
    )
    assert site.caller.run("ip", "link", "show", "wg0", check=False).returncode != 0


def test_a_caller_learns_the_links_mtu(site):
    site.describe(ENDS + WG.replace("keepalive", "mtu = 1300\nkeepalive") + PORTS)
    site.both_up()
    caller_learns(site.caller, "203.0.113.7", 5060, site.host, 1300)


def test_large_transfers_fit_the_link_both_ways(site):
    size = 2_000_000

    def swallow_and_give(connection):
        left = size
        while left:
            left -= len(connection.recv(65536))
        connection.sendall(bytes(size))

    serve_tcp(site.host, "0.0.0.0", 443, swallow_and_give, socket.AF_INET)
    site.describe(ENDS + WG.replace("keepalive", "mtu = 1280\nkeepalive") + PORTS)
    site.both_up()
    with site.caller.connect("203.0.113.7", 443) as connection:
        connection.sendall(bytes(size))
        got = 0
        while part := connection.recv(1 << 16):
            got += len(part)
    assert got == size


# where ports are published the caller has to send first: the connections that there were are not known any more
RESTARTS = [(PORTS, "server", "caller"), (PORTS, "attic", "caller")]
RESTARTS += [(WHOLE, "server", "host"), (WHOLE, "attic", "host")]


@pytest.mark.parametrize(("published", "who", "first"), RESTARTS, ids=range(len(RESTARTS)))
def test_an_open_connection_lives_while_an_end_restarts(site, published, who, first):
    said = threading.Event()

    def serve(connection):
        connection.sendall(b"1")
        if first == "host":
            said.wait(60)
            connection.sendall(b"2")
        assert connection.recv(1) == b"?"
        connection.sendall(b"3")

    serve_tcp(site.host, "0.0.0.0", 443, serve, socket.AF_INET)
    site.describe(ENDS + WG + published)
    site.both_up()
    with site.caller.connect("203.0.113.7", 443, timeout_s=60) as connection:
        assert connection.recv(1) == b"1"
        reboot(site, site.server if who == "server" else site.home, who)
        said.set()
        if first == "host":
            assert connection.recv(1) == b"2"
        connection.sendall(b"?")
        assert connection.recv(1) == b"3"
