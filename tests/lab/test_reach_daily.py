# SPDX-License-Identifier: ISC
"""What people do with a link day by day: telephone, ask for names, send large packets, restart either end.

The machines are those of test_reach_apply.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading

import pytest
from reach_lab import wait_until
from test_reach_apply import ENDS, HOST, HUB_AT_HOME, PORTS, WG, WHOLE, Site, keys, serve_tcp, servers

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("wireguard-go", "wg", "conntrack", "dnsmasq", "sipp"))),
        reason="no wireguard-go, wireguard-tools, conntrack, dnsmasq or sipp",
    ),
]
LAPTOP = ENDS.replace("[home", "[client.laptop]\n[home")
PHONE, PROXY = "198.18.0.2", "198.18.0.1"  # in the network without NAT
SIP_PORT, RTP_PORT = 5060, 7070
REGISTER = f"""REGISTER sip:{PROXY} SIP/2.0\r
Via: SIP/2.0/UDP {{own}}:{SIP_PORT};branch=z9hG4bK1\r
From: <sip:1@{PROXY}>;tag=1\r
To: <sip:1@{PROXY}>\r
Call-ID: 1@{{own}}\r
CSeq: 1 REGISTER\r
Contact: <sip:1@{{own}}:{SIP_PORT}>\r
Content-Length: 0\r
\r
"""
INVITE = f"""INVITE sip:1@{{contact}} SIP/2.0\r
Via: SIP/2.0/UDP {PROXY}:{SIP_PORT};branch=z9hG4bK2\r
From: <sip:2@{PROXY}>;tag=2\r
To: <sip:1@{PROXY}>\r
Call-ID: 2@{PROXY}\r
CSeq: 1 INVITE\r
Content-Type: application/sdp\r
\r
v=0\r
c=IN IP4 {PROXY}\r
m=audio {RTP_PORT} RTP/AVP 8\r
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("reach")
        for end in ("server", "attic", "laptop"):
            keys.write(folder / "keys", end)
        yield Site(stack, folder)


@pytest.fixture
def site(net):
    yield net
    net.down()
    while servers:
        servers.pop().close()


def hub_at_home(site):
    site.describe(LAPTOP + HUB_AT_HOME)
    site.at_once("up", (site.server, "server"), (site.home, "attic"), (site.caller, "laptop"))
    wait_until(lambda: answers(site.caller, PROXY), "the hub answers the laptop")


def answers(machine, target):
    return machine.run("ping", "-c1", "-W1", target, check=False).returncode == 0


@contextlib.contextmanager
def udp(machine, own, port):
    with machine.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((own, port))
        yield made


def sipp_calls(site):
    """Twenty whole calls, INVITE to BYE, with the addresses that sipp writes into them itself."""
    common = ("-nostdin", "-p", SIP_PORT, "-m", 20, "-trace_err", "-error_file", "/run/sipp.errors")
    called = subprocess.Popen(
        site.home.command("sipp", "-sn", "uas", "-i", PROXY, *common), stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: f"{PROXY}:{SIP_PORT}" in site.home.run("ss", "-unl").stdout, "it listens")
        calling = ("-i", PHONE, *common, "-r", 20, "-timeout", "20s", f"{PROXY}:{SIP_PORT}")
        site.caller.run("sipp", "-sn", "uac", *calling)
        assert called.wait(20) == 0
    finally:
        called.kill()
        called.wait()


def test_a_phone_registers_is_called_and_hears_through_the_network_without_nat(site):
    """SIP and RTP write addresses into what they say; each must be the one that the packet has."""
    hub_at_home(site)
    with (
        udp(site.home, PROXY, SIP_PORT) as proxy,
        udp(site.caller, PHONE, SIP_PORT) as phone,
        udp(site.home, PROXY, RTP_PORT) as voice,
        udp(site.caller, PHONE, RTP_PORT) as ear,
    ):
        phone.sendto(REGISTER.format(own=PHONE).encode(), (PROXY, SIP_PORT))
        message, sender = proxy.recvfrom(2000)
        contact = re.search(r"Contact: <sip:1@([\d.]+):(\d+)>", message.decode())
        via = re.search(r"Via: SIP/2.0/UDP ([\d.]+):(\d+)", message.decode())
        assert (contact[1], int(contact[2])) == (via[1], int(via[2])) == sender == (PHONE, SIP_PORT)
        # a call that comes in goes to what was written there
        proxy.sendto(INVITE.format(contact=contact[1]).encode(), (contact[1], int(contact[2])))
        message, sender = phone.recvfrom(2000)
        assert sender == (PROXY, SIP_PORT)
        talker = re.search(r"c=IN IP4 ([\d.]+)\r\nm=audio (\d+)", message.decode())
        ear.sendto(b"hello", (talker[1], int(talker[2])))
        assert voice.recvfrom(99) == (b"hello", (PHONE, RTP_PORT))
        voice.sendto(b"who is there?", (PHONE, RTP_PORT))
        assert ear.recvfrom(99) == (b"who is there?", (PROXY, RTP_PORT))
    sipp_calls(site)


def ask(machine, server, name, timeout_s=5):
    """The IPv4 address in a name server's answer, which has one record, the last four bytes; RFC 1035 section 4."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with machine.open_socket(family, socket.SOCK_DGRAM, timeout_s) as asking:
        asking.connect((server, 53))
        asking.send(b"\x46\x40\x01\0\0\x01\0\0\0\0\0\0" + labels + b"\0\0\x01\0\x01")
        return socket.inet_ntoa(asking.recv(512)[-4:])


@pytest.fixture
def resolvconf(site):
    """A resolvconf on the laptop that writes down what it is told."""
    site.caller.run("mount", "-t", "tmpfs", "none", "/usr/local/sbin")
    script = '#!/bin/sh\necho "$@"\n[ "$1" != -a ] || cat\n'
    site.caller.run("sh", "-c", f"cat >/run/resolvconf.sh <<'E'\n{script}E\n")
    text = '#!/bin/sh\nsh /run/resolvconf.sh "$@" >>/run/resolvconf.said\n'
    site.caller.run(
        "sh", "-c", f"cat >/usr/local/sbin/resolvconf <<'E'\n{text}E\nchmod 755 /usr/local/sbin/resolvconf"
    )
    yield
    site.caller.run("umount", "/usr/local/sbin")


def test_names_of_the_home_are_asked_over_the_link(site, resolvconf):
    """The home's router knows them; the hub passes questions on, and the laptop's system is told of the hub."""
    site.host.run(
        "dnsmasq", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=/run/dns.pid",
        "--host-record=nas.fritz.box,192.168.1.30",
    )  # fmt: skip
    names = f'dns_upstream = "{HOST}"\ndomain = "fritz.box"\n'
    site.describe(LAPTOP + HUB_AT_HOME.replace("[[publish]]", f"{names}[[publish]]"))
    site.at_once("up", (site.server, "server"), (site.home, "attic"), (site.caller, "laptop"))
    wait_until(lambda: answers(site.caller, PROXY), "the hub answers the laptop")
    assert ask(site.caller, PROXY, "nas.fritz.box") == "192.168.1.30"
    told = site.caller.run("cat", "/run/resolvconf.said").stdout
    assert told == f"-a wg0 -m 0 -x\nnameserver {PROXY}\nsearch fritz.box\n"
    site.reach(site.caller, "down", "laptop")
    assert site.caller.run("tail", "-n1", "/run/resolvconf.said").stdout == "-d wg0\n"
    # nobody outside of the link can ask the hub
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
    with udp(site.host, "", 5060) as phone, udp(site.caller, "", 0) as caller:
        caller.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        caller.connect(("203.0.113.7", 5060))
        caller.send(bytes(1472))
        with pytest.raises(OSError, match="Message too long"):
            wait_until(lambda: caller.send(bytes(1472)) == 0, "an error", 3)
        assert caller.getsockopt(socket.IPPROTO_IP, 14) == 1300  # IP_MTU
    with udp(site.host, "", 5060) as phone, udp(site.caller, "", 0) as caller:
        caller.setsockopt(socket.IPPROTO_IP, 10, 2)
        caller.connect(("203.0.113.7", 5060))
        caller.send(bytes(1300 - 28))
        assert len(phone.recv(2000)) == 1300 - 28


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


def reboot(site, machine, end):
    """Go down and come up as the unit does, and lose between what a reboot loses."""
    lasting = [f"STATE_DIRECTORY={site.folder}/lasting{machine.pid}"]
    site.reach(machine, "down", end, env=lasting)
    machine.run("conntrack", "-F", check=False)
    shutil.rmtree(site.state(machine))
    site.reach(machine, "up", end, env=lasting)


# where ports are published the caller has to speak first: which connections there were, nobody knows any more
RESTARTS = [(PORTS, "server", "caller"), (PORTS, "attic", "caller")]
RESTARTS += [(WHOLE, "server", "host"), (WHOLE, "attic", "host")]


@pytest.mark.parametrize(("published", "who", "first"), RESTARTS, ids=range(len(RESTARTS)))
def test_an_open_connection_lives_while_an_end_restarts(site, published, who, first):
    said = threading.Event()

    def serve(connection):
        connection.sendall(b"1")
        if first == "host":
            said.wait(20)
            connection.sendall(b"2")
        assert connection.recv(1) == b"?"
        connection.sendall(b"3")

    serve_tcp(site.host, "0.0.0.0", 443, serve, socket.AF_INET)
    site.describe(ENDS + WG + published)
    site.both_up()
    with site.caller.connect("203.0.113.7", 443, timeout_s=15) as connection:
        assert connection.recv(1) == b"1"
        reboot(site, site.server if who == "server" else site.home, who)
        said.set()
        if first == "host":
            assert connection.recv(1) == b"2"
        connection.sendall(b"?")
        assert connection.recv(1) == b"3"
