# SPDX-License-Identifier: ISC
"""`464xlat up` with the kernel module as its target: what the module does otherwise is made up for by the rules.

A file stands in for the control file, and a TUN device for the module's. What the module does is taken from its source
(docs/nat46.md); the rules are real.
"""

import json
import shutil

import pytest
from node_lab import CLAT, NEEDS, PLAT, stand_in_node
from scapy.layers.inet import ICMP, IP, UDP
from waiting import wait_until

pytestmark = NEEDS
CLIENT, SERVER, OTHER = "10.126.0.50", "198.51.100.2", "172.16.0.9"

# write packets into a TUN device as its program; print those that leave by another device, as hex
INJECT = """
    import fcntl, json, os, socket, struct, sys, time
    device, out, packets = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", device.encode(), 0x1001))
    seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # all: only there is what leaves
    seen.bind((out, 3))
    seen.settimeout(0.5)
    time.sleep(0.1)  # the device has its carrier now, and its routes
    for packet in packets:
        os.write(tun, bytes.fromhex(packet))
    found = []
    try:
        while True:
            data, (_, protocol, *_) = seen.recvfrom(65536)
            if protocol == 0x0800:
                found.append(data.hex())
    except TimeoutError:
        print(json.dumps(found))
"""


def nat46_node(machines, firewall="nft"):
    """A node whose translator is a file; `ip` makes the device when it is looked for behind `add`."""
    node = stand_in_node(machines("node"), firewall=firewall)
    ip = shutil.which("ip")
    node.machine.file("/run/control", "")
    node.machine.file(
        "/run/bin/ip",
        f"""#!/bin/sh
for device in clat plat; do
	[ "$*" != "link show dev $device" ] || ! grep -q "add $device" /run/control ||
		{ip} tuntap add dev $device mode tun
done
exec {ip} "$@"
""",
        0o755,
    )
    return node


def leave(node, device, out, *packets):
    """The packets that leave by `out`, soon, when these come out of the translator's device."""
    words = device, out, json.dumps([bytes(packet).hex() for packet in packets])
    came = [IP(bytes.fromhex(each)) for each in json.loads(node.machine.python(INJECT, *words))]
    return [packet for packet in came if packet.proto != 2]  # IGMP is the device's own


@pytest.fixture(params=["nft", "xtables-nft"])
def clat(machines, request):
    node = nat46_node(machines, request.param)
    run = node.machine.run
    run("ip link set br-client up")
    run("ip address add 10.126.0.1/16 dev br-client")
    run(f"ip neighbour add {CLIENT} lladdr 02:00:00:00:00:50 dev br-client")
    run("ip link add other type bridge")
    run("ip link set other up")
    run("ip address add 172.16.0.1/24 dev other")
    run(f"ip neighbour add {OTHER} lladdr 02:00:00:00:00:51 dev other")
    node.xlat(f"clat up {CLAT} --target /run/control")
    return node


QUOTED = IP(src=CLIENT, dst=SERVER) / UDP(sport=1, dport=2)
FROM_ITSELF = IP(
    src=CLIENT, dst=CLIENT
)  # pairs_xlate_v6_to_v4_outer: what no rule maps gets its destination as source


def test_a_client_hears_of_errors_on_the_way_from_192_0_0_8(clat):
    for error in (ICMP(type=3, code=4, nexthopmtu=1346), ICMP(type=11)):
        packet = FROM_ITSELF / error / QUOTED
        came = leave(clat, "clat", "br-client", packet)
        if clat.firewall != "nft":
            assert came == [], "iptables changes no source without connection tracking: the error is lost"
            continue
        (packet,) = came or wait_until(
            lambda sent=error: leave(clat, "clat", "br-client", FROM_ITSELF / sent / QUOTED), "error"
        )
        assert (packet.src, packet.dst, packet[ICMP].type) == ("192.0.0.8", CLIENT, error.type)
        assert bytes(packet[IP]) == bytes(IP(bytes(packet)))
    if clat.firewall == "nft":  # iptables lets it pass, and the client drops what comes from itself
        assert leave(clat, "clat", "br-client", FROM_ITSELF / ICMP(type=8)) == []


def test_another_node_s_client_passes_while_it_is_routed_into_the_clat(clat):
    peer = IP(src="10.126.7.7", dst=CLIENT) / UDP(sport=2, dport=1) / b"peer"
    if clat.firewall == "nft":
        assert leave(clat, "clat", "br-client", peer) == []
    clat.machine.run("ip route add 10.126.7.7 dev clat")
    came = wait_until(lambda: leave(clat, "clat", "br-client", peer), "the peer's packet")
    assert [(packet.src, packet.dst) for packet in came] == [("10.126.7.7", CLIENT)]


def test_answers_pass_and_what_is_for_no_client_does_not(clat):
    answer = IP(src=SERVER, dst=CLIENT) / UDP(sport=2, dport=1) / b"answer"
    came = wait_until(lambda: leave(clat, "clat", "br-client", answer), "answer")
    assert [packet.dst for packet in came] == [CLIENT]
    # xlate_nat64_to_v4 does not look at the length of local.v4: CLAT::172.16.0.9 would reach another network
    assert leave(clat, "clat", "other", IP(src=SERVER, dst=OTHER) / UDP() / b"x") == []


def test_a_source_outside_of_the_clients_range_does_not_enter_the_clat(clat):
    rules = clat.machine.output(
        "nft list ruleset" if clat.firewall == "nft" else "iptables-nft-save -t mangle"
    )
    wanted = (
        'oifname "clat" ip saddr != 10.126.0.0/16 reject'
        if clat.firewall == "nft"
        else "! -s 10.126.0.0/16 -o clat -j DROP"
    )
    assert wanted in rules


def test_the_device_is_down_before_the_module_is_told_to_delete_it(clat):
    """The module frees its pairs first, and then stops its packets (nat46_netdev_destroy)."""
    clat.machine.file(
        "/run/bin/ip",
        f"""#!/bin/sh
[ "$*" != "link set dev clat down" ] || cp /run/control /run/before
exec {shutil.which("ip")} "$@"
""",
        0o755,
    )
    clat.xlat("clat down")
    assert clat.machine.output("cat /run/before").startswith("config clat")
    assert clat.machine.output("cat /run/control") == "del clat\n"


@pytest.mark.parametrize("firewall", ["nft", "xtables-nft"])
def test_what_is_made_for_nat46_goes_again(machines, firewall):
    node = nat46_node(machines, firewall)
    empty = node.snapshot()
    node.xlat(f"clat up {CLAT} --target /run/control")
    assert "nat46" in node.snapshot()
    assert node.xlat("clat down").stderr == ""
    node.xlat(f"plat up {PLAT} --target /run/control")
    assert node.xlat("plat down").stderr == ""
    assert node.snapshot() == empty


def test_the_modules_file_is_left_alone_while_another_program_has_it(machines):
    node = nat46_node(machines)
    owner = node.machine.start(
        ["flock", "/proc/self/ns/net", "sh", "-c", "echo held; sleep 1.5; cat /run/control; echo end"]
    )
    assert owner.stdout.readline() == "held\n"
    node.xlat(f"clat up {CLAT} --target /run/control")
    assert owner.stdout.readline() == "end\n", "what `up` wrote came in between"
    assert "config clat" in node.machine.output("cat /run/control")


def test_siit_needs_none_of_it(machines):
    node = stand_in_node(machines("node"))
    node.xlat(f"clat up {CLAT}")
    node.xlat(f"plat up {PLAT}")
    assert "nat46" not in node.machine.output("nft list ruleset")


@pytest.mark.parametrize(("size", "flags"), [(1260, 0), (1261, "DF")])
def test_what_a_plat_makes_of_1260_bytes_may_be_fragmented(machines, size, flags):
    node = nat46_node(machines)
    run = node.machine.run
    run("ip link set wan up")
    run("ip address add 203.0.113.1/24 dev wan")
    run("ip neighbour add 203.0.113.9 lladdr 02:00:00:00:00:52 dev wan")
    node.xlat(f"plat up {PLAT} --target /run/control")
    packet = IP(src="192.0.2.9", dst="203.0.113.9", flags="DF") / UDP(sport=2000, dport=2) / bytes(size - 28)
    (came,) = wait_until(lambda: leave(node, "plat", "wan", packet), "packet")
    assert (came.src, len(came), came.flags) == ("203.0.113.1", size, flags)


def test_the_device_has_the_meshs_mtu_and_ipv4_eight_bytes_less_than_with_siit(clat):
    assert "mtu 1374 " in clat.machine.output("ip link show clat")
    clat.xlat("clat-route use")
    assert "mtu lock 1346" in clat.machine.output("ip -4 route show table 464")


def test_a_configuration_that_the_module_has_swallowed_is_noticed(machines):
    node = nat46_node(machines)
    empty = node.snapshot()
    # a control file that keeps what was added and nothing else
    node.machine.file(
        "/run/bin/grep", '#!/bin/sh\ncase "$*" in *"^config"*) exit 1 ;; esac\nexec /bin/grep "$@"\n', 0o755
    )
    done = node.xlat(f"clat up {CLAT} --target /run/control", check=False)
    assert done.returncode == 1
    assert "did not take the configuration of clat" in done.stderr
    assert node.snapshot() == empty
