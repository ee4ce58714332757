# SPDX-License-Identifier: ISC
"""What people do with a link day by day, on machines of a test: telephone, ask for names, send large packets, reboot.

SIP and RTP write addresses into what they say; each must be the one that the packet has.
"""

import contextlib
import re
import shutil
import socket
from collections import Counter

from reach_lab import DEADLINE_S, wait_until

SIP_PORT, RTP_PORT = 5060, 7070
REGISTER = f"""REGISTER sip:{{proxy}} SIP/2.0\r
Via: SIP/2.0/UDP {{own}}:{SIP_PORT};branch=z9hG4bK1\r
From: <sip:1@{{proxy}}>;tag=1\r
To: <sip:1@{{proxy}}>\r
Call-ID: 1@{{own}}\r
CSeq: 1 REGISTER\r
Contact: <sip:1@{{own}}:{SIP_PORT}>\r
Content-Length: 0\r
\r
"""
INVITE = f"""INVITE sip:1@{{contact}} SIP/2.0\r
Via: SIP/2.0/UDP {{proxy}}:{SIP_PORT};branch=z9hG4bK2\r
From: <sip:2@{{proxy}}>;tag=2\r
To: <sip:1@{{proxy}}>\r
Call-ID: 2@{{proxy}}\r
CSeq: 1 INVITE\r
Content-Type: application/sdp\r
\r
v=0\r
c=IN IP4 {{proxy}}\r
m=audio {RTP_PORT} RTP/AVP 8\r
"""
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14  # linux/in.h
HEADERS_BYTES = {4: 20 + 8, 6: 40 + 8}  # IP and ICMP
RESOLVCONF = '#!/bin/sh\necho "$@"\n[ "$1" != -a ] || cat\n'
CALLS_IT = '#!/bin/sh\nsh /run/resolvconf.sh "$@" >>/run/resolvconf.said\n'


def answers(machine, target, *options):
    return machine.run("ping", "-c1", "-W1", *options, target, check=False).returncode == 0


def soon(machine, target, *options):
    """It answers, if not the first ping."""
    wait_until(lambda: answers(machine, target, *options), f"{target} answers")


def await_addresses(machine, device):
    """Wait until the kernel has given a new device its addresses: a snapshot would see half of them."""

    def is_so():
        shown = machine.run("ip", "-6", "addr", "show", "dev", device).stdout
        return "fe80:" in shown and "tentative" not in shown

    wait_until(is_so, f"{device} has its addresses")


@contextlib.contextmanager
def udp(machine, own, port):
    with machine.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((own, port))
        yield made


def telephone(at_proxy, proxy, at_phone, phone):
    """A phone registers, is called, and both hear each other; `proxy` and `phone` are their addresses."""
    with (
        udp(at_proxy, proxy, SIP_PORT) as registrar,
        udp(at_phone, phone, SIP_PORT) as ringing,
        udp(at_proxy, proxy, RTP_PORT) as voice,
        udp(at_phone, phone, RTP_PORT) as ear,
    ):
        ringing.sendto(REGISTER.format(own=phone, proxy=proxy).encode(), (proxy, SIP_PORT))
        message, sender = registrar.recvfrom(2000)
        contact = re.search(r"Contact: <sip:1@([\d.]+):(\d+)>", message.decode())
        via = re.search(r"Via: SIP/2.0/UDP ([\d.]+):(\d+)", message.decode())
        assert (contact[1], int(contact[2])) == (via[1], int(via[2])) == sender == (phone, SIP_PORT)
        # a call that comes in goes to what was written there
        invite = INVITE.format(contact=contact[1], proxy=proxy)
        registrar.sendto(invite.encode(), (contact[1], int(contact[2])))
        message, sender = ringing.recvfrom(2000)
        assert sender == (proxy, SIP_PORT)
        talker = re.search(r"c=IN IP4 ([\d.]+)\r\nm=audio (\d+)", message.decode())
        ear.sendto(b"hello", (talker[1], int(talker[2])))
        assert voice.recvfrom(99) == (b"hello", (phone, RTP_PORT))
        voice.sendto(b"who is there?", (phone, RTP_PORT))
        assert ear.recvfrom(99) == (b"who is there?", (proxy, RTP_PORT))


def serve_names(machine, name, target):
    """A home's router, which knows one name."""
    machine.run(
        "dnsmasq", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=/run/dns.pid",
        f"--host-record={name},{target}",
    )  # fmt: skip


def ask(machine, server, name, timeout_s=DEADLINE_S / 4):
    """The IPv4 address in a name server's answer, which has one record, the last four bytes; RFC 1035 section 4."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with machine.open_socket(family, socket.SOCK_DGRAM, timeout_s) as asking:
        asking.connect((server, 53))
        asking.send(b"\x46\x40\x01\0\0\x01\0\0\0\0\0\0" + labels + b"\0\0\x01\0\x01")
        return socket.inet_ntoa(asking.recv(512)[-4:])


@contextlib.contextmanager
def resolvconf_at(machine):
    """A resolvconf that writes down what it is told, to /run/resolvconf.said."""
    machine.run("mount", "-t", "tmpfs", "none", "/usr/local/sbin")
    machine.run("sh", "-c", "cat >/run/resolvconf.sh", input=RESOLVCONF)
    machine.run("sh", "-c", "cat >/usr/local/sbin/resolvconf", input=CALLS_IT)
    machine.run("chmod", "755", "/usr/local/sbin/resolvconf")
    try:
        yield
    finally:
        machine.run("umount", "/usr/local/sbin")


def learns(machine, target, mtu_bytes, *options):
    """A ping that is too large, and may not be fragmented, is told what fits; one that just fits is answered."""
    headers = HEADERS_BYTES[6 if ":" in target else 4]

    def ping(size_bytes):
        words = ("-Mdo", "-c1", "-W1", f"-s{size_bytes - headers}", *options, target)
        return machine.run("ping", *words, check=False)

    def told():
        done = ping(mtu_bytes + 1)
        return re.search(r"mtu ?[=:] ?(\d+)", done.stdout + done.stderr)

    wait_until(lambda: ping(mtu_bytes).returncode == 0, f"{target} answers what just fits")
    assert int(wait_until(told, f"somebody says what fits on the way to {target}")[1]) == mtu_bytes


@contextlib.contextmanager
def never_fragmented(machine, target, port):
    with udp(machine, "", 0) as made:
        made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        made.connect((target, port))
        yield made


def caller_learns(caller, target, port, host, mtu_bytes):
    """The same for a caller's UDP, in whose way an address is translated."""
    with never_fragmented(caller, target, port) as calling:

        def refuses():
            try:
                calling.send(bytes(1500 - 28))
            except OSError:
                return True
            return False

        wait_until(refuses, "an error, for it does not fit")
        assert calling.getsockopt(socket.IPPROTO_IP, IP_MTU) == mtu_bytes
    with udp(host, "", port) as phone, never_fragmented(caller, target, port) as calling:
        calling.send(bytes(mtu_bytes - 28))
        assert len(phone.recv(2000)) == mtu_bytes - 28


def download(machine, target, port, size_bytes, source=None):
    """Take what a server gives, to its end."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    got = 0
    with machine.connect(target, port, family, source) as connection:
        while part := connection.recv(1 << 16):
            got += len(part)
    assert got == size_bytes


def says_on(connection, word=b"x"):
    """An open connection to an echo still carries."""
    connection.sendall(word)
    assert connection.recv(len(word)) == word


def reboot(site, machine, end):
    """Go down and come up as the unit does, and lose between what a reboot loses."""
    lasting = [f"STATE_DIRECTORY={site.folder}/lasting{machine.pid}"]
    site.reach(machine, "down", end, env=lasting)
    machine.run("conntrack", "-F", check=False)
    shutil.rmtree(site.state(machine))
    site.reach(machine, "up", end, env=lasting)


def changes(before, after):
    """What is in one snapshot of a machine only, whatever the order of addresses is and what counts down."""
    one, other = map(words_of, (before, after))
    return sorted((one - other).elements()), sorted((other - one).elements())


def words_of(snapshot):
    text = re.sub(r'("(?:valid_life_time|preferred_life_time|expires)":)\d+', r"\1", "\n".join(snapshot))
    return Counter(re.split(r"[{}\n]", text))


NOTHING = ([], [])
