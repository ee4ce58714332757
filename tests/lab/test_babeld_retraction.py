# SPDX-License-Identifier: ISC
"""What babeld says on the wire when a host route goes that was announced beside a /96: the whole of docs/babeld.md."""

import os
import subprocess
import sys
from ipaddress import IPv6Network

import pytest
from babel_wire import INFINITY, Listener
from prefixd_lab import REPOSITORY
from waiting import wait_until

from sdk.debian import babeld
from sdk.lab.radio import in_namespace
from sdk.timeouts import TIMEOUT_SCALE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")
CLAT, CLIENT, ADDRESS = "fddd:1337:1337:1:2:3::/96", "2001:db8:5::7/128", "fddd:1337:1339::7/128"
OTHER = "2001:db8:5::8/128"
MAC = "02:00:00:00:00:07"
HOST = ["route", "replace", CLIENT, "dev", "clients", "proto", "158"]  # as the roaming daemon does
ANNOUNCED = f"""
default hello-interval 0.2
redistribute ip ::/0 eq 0 proto 4 allow
redistribute local ip {ADDRESS} eq 128 allow
redistribute local deny
redistribute ip {CLAT} eq 96 allow
"""
ANY = "redistribute ip 2001:db8:5::/64 eq 128 allow\n"
OURS_ALONE = "redistribute ip 2001:db8:5::/64 eq 128 proto 158 allow\n"
# what is not told is kept for 4 minutes
WALKED = "default hello-interval 0.2 update-interval 60 type {}\nredistribute local deny\n" + ANY
WITHDRAWN_S = 10  # it is urgent: some ten ms, on a machine that has time
FLUSH_S = 1.0  # what goes with a withdrawal is in the same packet, or in the next
# the roaming daemon's way to take a client's route back
REMOVE = f"""
import socket
from l3roamd_py.kernel.network import Network
network = Network("clients", None)
network.remove_route(bytes.fromhex("{MAC.replace(":", "")}"), socket.inet_pton(socket.AF_INET6, "{CLIENT[:-4]}"))
assert not network.routes()
"""


class Node:
    """A node with a babeld, and what it says to its neighbour, in namespaces that are there and linked."""

    def __init__(self, spaces, folder, program, config, name="node", peer="peer"):
        self.spaces, self.name = spaces, name
        self.withdrawn: set[str] = set()  # so far: babeld says each more than once
        for device in ("clat", "clients"):
            self.ip("link", "add", device, "type", "bridge")
            self.ip("link", "set", device, "up")
        other = spaces.start(peer, ["sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
        other.stdout.readline()  # it is in its namespace
        self.listener = in_namespace(other.pid, lambda: Listener(name))
        config_file = folder / f"{name}.conf"
        config_file.write_text(config)
        files = ["-c", str(config_file), "-S", str(folder / f"{name}.state"), "-I", ""]
        with (folder / f"{name}.log").open("wb") as log:
            spaces.start(name, [str(program), *files, peer], stderr=log)

    def ip(self, *words):
        return self.spaces.run(self.name, "ip", "-6", *words)

    def has_way(self, prefix):
        """Whether it sends packets for a prefix to its neighbour."""
        return " via " in self.ip("route", "show", prefix)

    def announce(self, prefix, *words):
        """Do what makes babeld announce a prefix, and wait for it."""
        self.ip(*words)
        heard = self.listener.listen(30 * TIMEOUT_SCALE, lambda update: update == (IPv6Network(prefix), 0))
        assert (IPv6Network(prefix), 0) in heard

    def withdraws(self, *expected):
        """Whether it begins to withdraw these prefixes, and no others."""
        missing = {(IPv6Network(prefix), INFINITY) for prefix in expected}

        def is_last(update):
            missing.discard(update)
            return not missing

        heard = self.listener.listen(WITHDRAWN_S * TIMEOUT_SCALE, is_last) if missing else []
        heard += self.listener.listen(FLUSH_S)
        new = {str(update.prefix) for update in heard if update.metric == INFINITY} - self.withdrawn
        self.withdrawn |= new
        assert new == set(expected)


def link(spaces):
    for name in ("node", "peer"):
        spaces.add(name)
    spaces.link("node", "peer")


def start(spaces, folder, program, config=ANNOUNCED + ANY, default=False):
    link(spaces)
    node = Node(spaces, folder, program, config)
    node.announce(CLAT, "route", "add", CLAT, "dev", "clat", "proto", "4")
    if default:
        node.announce("::/0", "route", "add", "::/0", "dev", "clat", "proto", "4")
    node.announce(CLIENT, *HOST)
    return node


def roam_away(node):
    environment = {"PYTHONPATH": str(REPOSITORY)}
    words = ["env", *(f"{key}={text}" for key, text in environment.items()), sys.executable, "-c", REMOVE]
    node.spaces.run("node", *words)


@pytest.fixture
def mended():
    if not babeld.PROGRAM.exists():
        pytest.skip("no mended babeld: make babeld")
    return babeld.PROGRAM


@pytest.fixture
def shipped():
    if not babeld.SHIPPED.exists():
        pytest.skip("no babeld as OpenWrt has it: make babeld")
    return babeld.SHIPPED


@pytest.mark.parametrize("default", [False, True], ids=["node", "gateway"])
def test_the_mended_one_withdraws_what_goes_and_nothing_else(spaces, tmp_path, mended, default):
    node = start(spaces, tmp_path, mended, default=default)
    node.ip("route", "del", CLIENT, "dev", "clients")
    node.withdraws(CLIENT)
    node.announce(ADDRESS, "addr", "add", ADDRESS, "dev", "lo")
    node.ip("addr", "del", ADDRESS, "dev", "lo")
    node.withdraws(ADDRESS)
    node.ip("route", "del", CLAT, "dev", "clat")
    node.withdraws(CLAT)


@pytest.mark.parametrize("default", [False, True], ids=["node", "gateway"])
def test_the_shipped_one_withdraws_what_nobody_has_or_its_own_default_route(
    spaces, tmp_path, shipped, default
):
    node = start(spaces, tmp_path, shipped, default=default)
    node.ip("route", "del", CLIENT, "dev", "clients")
    node.withdraws("::/0" if default else "2001:db8:5::/96")


@pytest.mark.parametrize(
    ("program", "routes", "wrong"),
    [("shipped", ANY, {"2001:db8:5::/96"}), ("mended", ANY, set()), ("mended", OURS_ALONE, set())],
    ids=["shipped", "mended", "mended, by protocol"],
)
def test_the_roaming_daemon_has_either_withdraw_a_client_that_left(
    spaces, tmp_path, request, program, routes, wrong
):
    node = start(spaces, tmp_path, request.getfixturevalue(program), ANNOUNCED + routes)
    roam_away(node)
    node.withdraws(CLIENT, *wrong)
    node.announce(CLIENT, *HOST)


def walk(spaces, folder, program, kind):
    """A client was at a node, then at its neighbour as well, and the node's route goes; return both."""
    link(spaces)
    node = Node(spaces, folder, program, WALKED.format(kind))
    peer = Node(spaces, folder, program, WALKED.format(kind), "peer", "node")
    node.announce(CLIENT, *HOST)
    wait_until(lambda: peer.has_way(CLIENT), "the neighbour's way to the client")
    peer.announce(CLIENT, *HOST)
    peer.announce(OTHER, "route", "add", OTHER, "dev", "clients", "proto", "158")
    wait_until(lambda: node.has_way(OTHER), "a way that the node could take")
    node.ip("route", "del", CLIENT, "dev", "clients")
    wait_until(lambda: node.has_way(CLIENT), "the node's way to its neighbour")
    return node, peer


@pytest.mark.parametrize("kind", ["wired", "wireless"])
def test_the_mended_one_withdraws_what_it_has_another_way_to(spaces, tmp_path, mended, kind):
    node, peer = walk(spaces, tmp_path, mended, kind)
    node.withdraws(CLIENT)
    peer.ip("route", "del", CLIENT, "dev", "clients")
    wait_until(lambda: not node.has_way(CLIENT), "the node's way ending")
    assert not peer.has_way(CLIENT)


def test_the_shipped_one_does_not_and_two_nodes_send_to_each_other(spaces, tmp_path, shipped):
    node, peer = walk(spaces, tmp_path, shipped, "wireless")
    node.withdraws()
    peer.ip("route", "del", CLIENT, "dev", "clients")
    wait_until(lambda: peer.has_way(CLIENT), "the neighbour's way back")
    assert node.has_way(CLIENT)
