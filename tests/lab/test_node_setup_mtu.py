# SPDX-License-Identifier: ISC
"""The path's MTU through nodes that `464xlat` has set up: who learns it, and that what is too long gets through."""

import re
import sys
import textwrap
import time

import pytest
from node_lab import EITHER_KIND, NEEDS
from setup_mesh import MESH_MTU, PLAT_PREFIX, PRELUDE, SERVER, mesh, nft_mesh

pytestmark = NEEDS


def path_mtu(mesh, machine, to):
    """What a machine learnt about the path, in bytes; 0 if nothing."""
    found = re.search(r"mtu (\d+)", machine.output(f"ip route get {to}"))
    return int(found[1]) if found else 0


def test_a_datagram_with_df_is_told_the_mtu_of_the_mesh_by_the_translator(nft_mesh):
    fits, larger = MESH_MTU - 48, MESH_MTU - 47
    sent = f"""
        s = udp(df=True, timeout=0.5)
        for _ in range(40):
            s.send(b"x" * {fits})
            try:
                print(len(s.recv(2000)))
                break
            except TimeoutError:  # the first one may wait in vain for a neighbour
                continue
    """
    assert nft_mesh.ask(sent) == str(fits)
    refused = f"""
        s = udp(df=True)
        for _ in range(600):
            try:
                s.send(b"x" * {larger})
            except OSError as error:
                print(error.errno)
                break
            time.sleep(0.1)
    """
    assert nft_mesh.ask(refused) == "90"
    assert path_mtu(nft_mesh, nft_mesh.client, SERVER) == MESH_MTU - 20


# sends what just fits the CLAT until an error says that the path is narrower: EMSGSIZE, 90
PROBE = """
    s = udp(df=True, timeout=0.3)
    for _ in range(200):
        try:
            s.send(b"x" * 1326)
            s.recv(2000)
        except TimeoutError:
            continue
        except OSError as error:
            print(error.errno)
            break
"""


def test_path_mtu_of_the_mesh_is_learnt_from_the_client(nft_mesh):
    mesh = nft_mesh
    narrow(mesh)
    assert mesh.ask(PROBE) == "90"
    assert path_mtu(mesh, mesh.client, SERVER) == 1280


@pytest.mark.parametrize("mesh", EITHER_KIND, indirect=True)
def test_path_mtu_of_the_mesh_is_learnt_from_the_server(mesh):
    """The router in the mesh has no IPv4 address, and none that the PLAT's prefix maps.

    So conntrack must know the connection of its Packet Too Big, NAT66 and siit translate it, and the masquerade replace
    its source.
    """
    narrow(mesh)
    server = mesh.server.start([sys.executable, "-c", textwrap.dedent(BIG_ANSWERS)])
    assert server.stdout.readline() == "ready\n"
    asks = textwrap.dedent(PRELUDE + ASKS)
    mesh.client.start([sys.executable, "-c", asks])
    assert server.stdout.readline() == "90\n"  # EMSGSIZE
    assert path_mtu(mesh, mesh.server, "203.0.113.1") == 1280


ASKS = """
    s = udp()
    s.connect((SERVER, 9))
    for _ in range(60):  # any datagram may be lost
        s.send(b"go")
        time.sleep(1)
"""
BIG_ANSWERS = """
    import socket, time
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(60)
    s.bind(("", 9))
    s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    print("ready", flush=True)
    _, peer = s.recvfrom(100)
    s.connect(peer)
    for _ in range(600):
        try:
            s.send(b"x" * 1326)
        except OSError as error:
            print(error.errno, flush=True)
            break
        time.sleep(0.1)
"""


def narrow(mesh):
    """A link in the mesh gets an MTU below the mesh's: the router before it says so, on either side."""
    for machine, device in (
        (mesh.mid, "left"),
        (mesh.clat, "mesh"),
        (mesh.mid, "right"),
        (mesh.plat, "mesh"),
    ):
        machine.run(f"ip link set {device} mtu {MESH_MTU}")
    mesh.mid.run("ip -6 route change fddd:1337:1337:200:0:c1::/96 via fd00:1::1 mtu 1300")
    mesh.mid.run(f"ip -6 route change {PLAT_PREFIX} via fd00:2::1 mtu 1300")


@pytest.mark.parametrize("mesh", EITHER_KIND, indirect=True)
def test_fragments_get_through_a_path_that_is_narrower_than_the_mesh_says(mesh):
    """Conntrack on the platnode puts them together, so a Packet Too Big would quote a whole packet."""
    narrow(mesh)
    for size in (1400, 3000, 20000):
        assert mesh.ask(f's = udp(); s.send(b"x" * {size}); print(len(s.recv(65536)))') == str(size)


def test_tcp_gets_through_a_path_that_is_narrower_than_its_mss(nft_mesh):
    mesh = nft_mesh
    narrow(mesh)
    size = 251 * 20000
    down = f'print(len(tcp(b"give {size}", timeout=60).makefile("rb").read()))'
    assert mesh.ask(down) == str(size)
    up = f'data = bytes({size}); c = tcp(b"take {size}", timeout=60); c.sendall(data); '
    assert (
        mesh.ask(up + "print(c.makefile().readline().strip() == hashlib.sha256(data).hexdigest())") == "True"
    )


@pytest.mark.parametrize(("mtu", "learnt"), [(1300, 1300), (1200, 1260)])
def test_path_mtu_of_the_ipv4_internet_is_learnt_by_the_client(nft_mesh, mtu, learnt):
    """Below 1280 IPv6 has no MTU to tell: what fits there goes without DF (RFC 7915 sections 4.2 and 5.1)."""
    mesh = nft_mesh
    for machine, device in ((mesh.net4, "right"), (mesh.server, "eth0")):
        machine.run(f"ip link set {device} mtu {mtu}")
    assert mesh.ask(PROBE) == "90"
    assert path_mtu(mesh, mesh.client, SERVER) == learnt
    size = learnt - 28
    assert mesh.ask(f's = udp(df=True); s.send(b"x" * {size}); print(len(s.recv(2000)))') == str(size)
