# SPDX-License-Identifier: ISC
"""Clients that are more than one MAC and one address, with dnsmasq and udhcpc: a new MAC, a repeater, two leases."""

import os
import signal

import pytest
from meshes import mesh_text
from waiting import wait_until

from sdk.lab import WEB
from sdk.lab.programs import UDHCPC
from xlat464.address import format_mac

MESH = mesh_text("a=clat b=both", "a-b", "phone=a laptop=a desktop=a repeater=a", roaming="true")
NAME = "0x3d:00636c69656e74"  # option 61: a name that stays when the MAC does not
NEW_MAC = "02:00:5e:10:00:99"
VM_MAC, BRIDGED_MAC = "02:00:5e:10:00:77", "02:00:5e:10:00:78"
# What a repeater does that may send with its own MAC only: ARP and IPv4 of one device behind it go on in its name
REPEATER = """
import select, socket, sys
own, behind = (bytes.fromhex(text.replace(":", "")) for text in sys.argv[1:])
mesh, lan = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in range(2))
for sock, device in ((mesh, "eth0"), (lan, "lan")):
    sock.bind((device, 0))
    sock.setsockopt(263, 23, 1)
while True:
    for sock in select.select([mesh, lan], [], [])[0]:
        frame = bytearray(sock.recv(2048))
        is_arp, is_up = frame[12:14] == b"\\x08\\x06", sock is lan
        if not is_arp and frame[12:14] != b"\\x08\\x00":
            continue
        if is_up:
            frame[6:12] = own
            if is_arp:
                frame[22:28] = own
        elif frame[:6] in (own, b"\\xff" * 6):
            if is_arp and frame[32:38] == own:
                frame[32:38] = behind
            frame[:6] = behind if frame[:6] == own else frame[:6]
        else:
            continue
        if not is_up and frame[23] == 17:
            frame[40:42] = bytes(2)  # the kernel leaves the checksum to a card that is none
        (mesh if is_up else lan).send(frame)
"""


@pytest.fixture(scope="module")
def lab(lab_of):
    return lab_of(MESH)


def answered(lab, client, inside=()):
    ping = [*inside, "ping", "-c", "1", "-W", "1", WEB]
    return lab.exec(client, ping, check=False).returncode == 0


def known(lab, node, address):
    """What a node says of who has an address there."""
    clients = lab.roaming_status(node).get("clients", [])
    return next((client for client in clients if client["ipv4"] == address), None)


def new_lease(lab, client, *options, inside=(), device="eth0"):
    command = [device if word == "eth0" else word for word in UDHCPC]
    lab.running.daemon(
        client, f"udhcpc {device}", [*inside, *command, "-t", "20", "-T", "1", "-A", "1", *options]
    )

    def address():
        shown = lab.exec(client, [*inside, "ip", "-4", "-o", "addr", "show", "dev", device]).stdout.split()
        return shown[3].partition("/")[0] if shown else None

    wait_until(address, what="a lease")
    return address()


def test_a_client_that_changes_its_mac_and_not_its_name_keeps_its_address(lab):
    lab.running.stop("phone", "udhcpc")
    lab.script("phone", ["ip addr flush dev eth0"])
    before = new_lease(lab, "phone", "-x", NAME)
    wait_until(lambda: answered(lab, "phone"), what="an answer with the first MAC")
    old = known(lab, "a", before)["mac"]
    lab.running.stop("phone", "udhcpc eth0", signal.SIGKILL)  # it does not give its lease back
    lab.script(
        "phone", ["ip link set eth0 down", f"ip link set eth0 address {NEW_MAC}", "ip link set eth0 up"]
    )
    lab.script("phone", ["ip addr flush dev eth0"])
    assert new_lease(lab, "phone", "-x", NAME) == before  # dnsmasq takes it for the same
    wait_until(lambda: answered(lab, "phone"), what="an answer with the other MAC")
    found = known(lab, "a", before)
    assert found["mac"] == NEW_MAC != old
    counters = lab.roaming_status("a")["counters"]
    assert counters["addresses_handed_over"] == 1
    assert "conflicts" not in counters


def behind_a_repeater(lab, client, mac):
    """Put a machine behind a client's MAC, and return how to be on it, and its lease."""
    own = format_mac(lab.client(client).mac)
    lab.script(
        client,
        [
            "ip netns add vm",
            f"ip link add lan type veth peer name eth0 netns vm address {mac}",
            "ip link set lan up",
            "ip -n vm link set eth0 up",
        ],
    )
    lab.running.daemon(client, "repeater", ["python", "-c", REPEATER, own, mac])
    inside = ["ip", "netns", "exec", "vm"]
    return inside, new_lease(lab, client, "-x", f"0x3d:00{client.encode().hex()}", "-B", inside=inside)


def test_a_client_behind_a_repeater_is_served_and_roams(lab):
    """dnsmasq knows the MAC in its messages, and no frame comes from that."""
    (pid,) = lab.running.daemons()["repeater"]["udhcpc"]
    os.kill(pid, signal.SIGUSR2)
    wait_until(lambda: not lab.lease("repeater"), what="the lease given back")
    lab.running.stop("repeater", "udhcpc")
    inside, address = behind_a_repeater(lab, "repeater", VM_MAC)
    wait_until(lambda: answered(lab, "repeater", inside), what="an answer through the repeater")
    found = known(lab, "a", address)
    assert found["mac"] == format_mac(lab.client("repeater").mac)
    assert VM_MAC not in [client["mac"] for client in lab.roaming_status("a")["clients"]]
    lab.roam("repeater", "b", hard=True)
    wait_until(lambda: answered(lab, "repeater", inside), what="an answer through the repeater at b")
    assert known(lab, "b", address)["home"] == found["home"]
    assert known(lab, "a", address) is None


@pytest.mark.parametrize("client", ["laptop", "desktop"])
def test_two_leases_behind_one_mac_both_work_and_roam(lab, client):
    """A machine that is bridged by another's MAC, and of which DHCP knows its own MAC (laptop), or that one, too."""
    wait_until(lambda: lab.is_answered(client), what="an answer for its own address")
    first, mac = lab.lease(client), format_mac(lab.client(client).mac)
    inside, second = behind_a_repeater(lab, client, BRIDGED_MAC if client == "laptop" else mac)
    assert second != first
    wait_until(lambda: answered(lab, client, inside), what="an answer for the second address")
    assert answered(lab, client)
    assert known(lab, "a", first)["mac"] == known(lab, "a", second)["behind"] == mac
    homes = [known(lab, "a", each)["home"] for each in (first, second)]

    lab.roam(client, "b", hard=True)
    wait_until(lambda: answered(lab, client, inside) and answered(lab, client), what="answers for both at b")
    assert [known(lab, "b", each)["home"] for each in (first, second)] == homes
    assert known(lab, "a", first) is None
    assert known(lab, "a", second) is None
    assert "conflicts" not in lab.roaming_status("a")["counters"]
