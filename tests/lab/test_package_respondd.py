# SPDX-License-Identifier: ISC
"""What the packages' respondd modules tell, compiled with sanitizers.

They ask a real babeld, and stand-ins for daemons that are silent, slow, endless or wrong. respondd has one thread, so
it must not wait for any of them.
"""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import wait_until

from sdk.lab.machine import die_with_parent
from sdk.timeouts import TIMEOUT_SCALE

ROOT = Path(__file__).resolve().parents[2]
COMMON = ROOT / "package/gluon-464xlat-common/src"
MODULES = {
    "common": [*COMMON.glob("*.c")],
    "babel": [*(ROOT / "package/gluon-464xlat-babel/src").glob("*.c"), COMMON / "respondd-common.c"],
}
FLAGS = "-std=gnu11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all"
LIMIT_S = 1.0  # of one daemon; docs/package/gluon-464xlat-babel.rst
SLACK_S = 8 * TIMEOUT_SCALE  # what a busy machine adds: no answer that comes by and by ends within it
numbers = itertools.count()
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/include/json-c/json.h").exists() or shutil.which("babeld") is None,
    reason="needs root, and apt-get install babeld libjson-c-dev",
)
# a node's files are its own, and so is what the kernel tells of its devices
SETUP = """\
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
mkdir -p /run/config/464xlat /run/464xlat
mkdir -p /etc/config && mount --bind /run/config /etc/config
rmdir /run/config/464xlat
mount -t proc proc /proc
ip link set lo up
echo ready
while :; do sleep 0.1; done  # and collect what has ended, as an init does
"""
# argv: where to listen ("port" or a path), how to behave, and for `say` and `half` with what
IMPOSTOR = r"""
import socket, sys, time
where, mode, words = sys.argv[1], sys.argv[2], sys.argv[3].encode()
if where == "port":
    server = socket.socket(socket.AF_INET6)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::1", 33123))
else:
    server = socket.socket(socket.AF_UNIX)
    server.bind(where)
server.listen(0 if mode == "crowded" else 8)
others = []
if mode == "crowded":
    while len(others) < 8:
        one = socket.socket(server.family)
        one.setblocking(False)
        try:
            one.connect(server.getsockname())
        except OSError:
            pass
        others.append(one)
print("ready", flush=True)
while True:
    if mode == "crowded":
        time.sleep(3600)
    peer, _ = server.accept()
    others.append(peer)
    try:
        if mode == "say":
            peer.sendall(words)
            peer.shutdown(socket.SHUT_WR)
        elif mode == "half":
            peer.sendall(words)
        elif mode == "trickle":
            for i in range(len(words)):
                peer.sendall(words[i : i + 1])
                time.sleep(0.2)  # less than anybody's patience for a step, a minute for all
        elif mode == "flood":
            peer.sendall(words)
            while True:
                peer.sendall(b"add interface mesh0 up true ipv6 fe80::1\n" * 1000)
        elif mode == "long":
            peer.sendall(words + b"x" * 10_000_000)
        elif mode == "deep":
            peer.sendall(b'{"a":[' * 100_000)
    except OSError:
        pass
"""
GREETING = "BABEL 1.0\nversion babeld-1.13.1\nhost a\nmy-id 70:dc:d4:36:83:5c:45:bd\nok\n"
NEIGHBOUR = (
    "add interface mesh0 up true ipv6 fe80::1\n"
    "add neighbour 55b47a4f40e0 address fe80::ff:fe00:2 if mesh0 reach f0ff ureach 0000 rxcost 96 txcost 256 cost 120\n"
)


class Box:
    """A machine with its own network and /run."""

    def __init__(self) -> None:
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SETUP]
        self.init = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent(os.getpid())
        )
        assert self.init.stdout is not None
        assert self.init.stdout.readline() == "ready\n"
        self.pid = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text().split()[0]
        self.enter = ["nsenter", "-t", self.pid, "-m", "-n", "-p"]

    def __call__(self, command: str) -> str:
        return subprocess.run(
            [*self.enter, "sh", "-c", command], check=True, capture_output=True, text=True
        ).stdout

    def plug(self, other: "Box") -> None:
        """Lay a cable to another one, between devices mesh0 with a MAC each."""
        near = "link add mesh0 address 02:00:00:00:00:01"
        far = f"type veth peer name mesh0 address 02:00:00:00:00:02 netns {other.pid}"
        subprocess.run(["nsenter", "-t", self.pid, "-n", "ip", *near.split(), *far.split()], check=True)

    def start(self, *command: str) -> subprocess.Popen:
        """Start a program that ends with the box."""
        return subprocess.Popen([*self.enter, *command], stdout=subprocess.PIPE, text=True)

    def pose(self, where: str, mode: str, words: str = "") -> None:
        """Put a program in a daemon's place."""
        started = self.start(sys.executable, "-c", IMPOSTOR, where, mode, words)
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"

    def write(self, path: str, text: str) -> None:
        Path(f"/proc/{self.pid}/root{path}").write_text(text)

    def ask(self, program: Path, request: str, times: int = 1) -> dict:
        """What a module tells, of a request the last of so many times. AssertionError when it takes too long."""
        begun = time.monotonic()
        done = subprocess.run(
            [*self.enter, str(program), request, str(times)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1"},
        )
        self.took_s = time.monotonic() - begun
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def close(self) -> None:
        self.init.kill()
        self.init.wait()


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The modules as programs, by package."""
    folder = tmp_path_factory.mktemp("respondd")
    folder.chmod(0o755)
    for name, sources in MODULES.items():
        files = [*sources, ROOT / "tests/gluon/respondd.c"]
        include = [f"-I{ROOT / 'sdk/ipk/include'}", f"-I{COMMON}"]
        subprocess.run(["cc", *FLAGS.split(), *include, "-o", folder / name, *files, "-ljson-c"], check=True)
    return {name: folder / name for name in MODULES}


@pytest.fixture
def box():
    with contextlib.ExitStack() as stack:
        made = Box()
        stack.callback(made.close)
        yield made


NEAR = """\
ip link set mesh0 up
ip link add br-mesh address 02:00:00:00:00:06 type bridge
ip link add port6 type veth peer name end6
ip link set port6 master br-mesh
ip link add br-vpn address 02:00:00:00:00:07 type bridge
ip tuntap add dev tap7 mode tap
ip link set tap7 master br-vpn
ip link add zz7 type veth peer name end7
ip link set zz7 master br-vpn
for device in br-mesh port6 end6 br-vpn tap7 zz7 end7; do ip link set $device up; done
ip -6 addr add fd46:4646:4646:1::1/128 dev lo nodad
ip -6 addr add fd00:1:2:3::5/128 dev lo nodad
"""


@pytest.fixture(scope="module")
def mesh():
    """Two nodes with babeld, a cable between their mesh0; the first has a bridge over a cable and one over a tunnel."""
    babeld = ["local-port-readwrite 33123", "interface mesh0 hello-interval 1", "redistribute local allow"]
    options = [option for line in babeld for option in ("-C", line)]
    with contextlib.ExitStack() as stack:
        near, far = nodes = [Box() for _ in range(2)]
        for node in nodes:
            stack.callback(node.close)
        near.plug(far)
        near(NEAR)
        near.write("/run/gluon-464xlat-babel.devices", "mesh0\nbr-mesh\nbr-vpn\ngone0\n")
        roaming = "\nconfig roaming 'roaming'\n\toption node_client_prefix 'fd00:1:2:3::/64'\n"
        near.write("/etc/config/464xlat", roaming)
        far("ip link set mesh0 up; ip -6 addr add fddd:1338:1338:a:b:c:c000:1/128 dev lo nodad")
        for node in nodes:
            log = 'exec "$@" >/run/babeld.log 2>&1'
            node.start("sh", "-c", log, "sh", "babeld", "-I", "", "-S", "/run/state", *options, "mesh0")
        yield near, far


def told_by_yanic(told: dict) -> None:
    """Fail unless yanic's structs (data/neighbours.go) take it: Go refuses a number with a fraction for an int."""
    for device in told["babel"].values():
        assert type(device["protocol"]) is type(device["ll-addr"]) is str
        for address, link in device["neighbours"].items():
            assert address.startswith("fe80::")
            for name in ("rxcost", "txcost", "cost", "reachability"):
                assert type(link[name]) is int
                assert 0 <= link[name] <= 0xFFFF


def test_a_map_finds_a_neighbour_by_the_address_that_it_tells_itself(programs, mesh):
    near, far = mesh
    far.write("/run/gluon-464xlat-babel.devices", "mesh0\n")

    def meet():
        told = near.ask(programs["babel"], "neighbours")
        return told.get("babel", {}).get("mesh0", {}).get("neighbours") and told

    told = wait_until(meet, "a neighbour")
    told_by_yanic(told)
    assert told["babel"]["mesh0"]["ll-addr"] == "fe80::ff:fe00:1"
    ((address, link),) = told["babel"]["mesh0"]["neighbours"].items()
    assert (link["ifname"], link["mac"]) == ("mesh0", "02:00:00:00:00:02")
    assert 0 < link["cost"] < 0xFFFF
    interfaces = far.ask(programs["babel"], "nodeinfo")["network"]["mesh"]["babel"]["interfaces"]
    assert address in interfaces["other"]
    assert link["mac"] in interfaces["other"]


def test_babeld_has_nothing_to_complain_of(programs, mesh):
    near, _ = mesh
    near("for i in 1 2 3 4 5 6 7 8 9; do ip -6 addr add fddd:1338:1338:$i::1/128 dev lo nodad; done")
    wait_until(
        lambda: near(r'printf "dump\nquit\n" | busybox nc ::1 33123').count("add xroute") >= 9, "nine routes"
    )
    near.ask(programs["babel"], "neighbours", times=9)
    near.ask(programs["babel"], "nodeinfo", times=9)
    assert "local_socket" not in near("cat /run/babeld.log")
    near("for i in 1 2 3 4 5 6 7 8 9; do ip -6 addr del fddd:1338:1338:$i::1/128 dev lo; done")


def test_nodeinfo_tells_the_nodes_own_addresses_and_its_devices_by_kind(programs, mesh):
    near, _ = mesh

    def are_ready():  # a link-local address is tentative for a second
        told = near.ask(programs["babel"], "nodeinfo")
        interfaces = told["network"]["mesh"]["babel"]["interfaces"]
        return len(interfaces.get("other", [])) == 4 and len(interfaces.get("tunnel", [])) == 2 and told

    told = wait_until(are_ready, "addresses of all devices")
    assert told["network"]["addresses"] == ["fd46:4646:4646:1::1"]  # not the one by which a client is found
    interfaces = told["network"]["mesh"]["babel"]["interfaces"]
    assert interfaces["other"] == [
        "fe80::ff:fe00:1",
        "02:00:00:00:00:01",
        "fe80::ff:fe00:6",
        "02:00:00:00:00:06",
    ]
    assert interfaces["tunnel"] == ["fe80::ff:fe00:7", "02:00:00:00:00:07"]
    assert told["software"]["babeld"]["version"].startswith("babeld-1.")


@pytest.mark.parametrize(
    ("mode", "said", "status"),
    [
        ("say", GREETING + NEIGHBOUR + "ok\n", 0),
        ("say", GREETING + NEIGHBOUR.replace(" cost 120", " cost 65535") + "ok\n", 1),
        ("say", GREETING + "add interface mesh0 up true ipv6 fe80::1\nok\n", 1),
        ("half", GREETING, 1),  # and nobody waits for ever
        (None, "", 1),
    ],
)
def test_the_state_check_has_neighbours_knows_those_that_babel_can_use(box, mode, said, status):
    """With the programs of OpenWrt's busybox, which are fewer than Debian's."""
    check = ROOT / "package/gluon-464xlat-babel/files/lib/gluon/state/check.d/has_neighbours"
    if mode:
        box.pose("port", mode, said)
    box(
        "mkdir /run/bin; for name in cat grep mktemp nc rm sh sleep; do ln -s $(which busybox) /run/bin/$name; done"
    )
    done = subprocess.run(
        [*box.enter, "/usr/bin/env", "PATH=/run/bin", "sh", check], timeout=60 * TIMEOUT_SCALE
    )
    assert done.returncode == status
    wait_until(lambda: "nc" not in box("cat /proc/[0-9]*/comm 2>/dev/null || true").split(), "end of nc")


def test_clients_are_counted_on_the_bridge_and_traffic_too(programs, box):
    assert "clients" not in box.ask(programs["babel"], "statistics")
    box(
        "ip link add br-client type bridge; ip link set br-client up; ip link add local-node address 02:00:00:00:46:46"
        " type veth peer name local-port; ip link set local-port master br-client up; ip link set local-node up"
    )
    macs = (
        "02:00:00:00:00:0a",
        "02:00:00:00:00:0b",
        "02:00:00:00:46:46",
    )  # the last is the node's own next-node address

    def learn():  # a port that comes up forgets what it had learnt
        box("; ".join(f"bridge fdb replace {mac} dev local-port master dynamic || true" for mac in macs))
        told = box.ask(programs["babel"], "statistics")
        return box("bridge fdb show dev local-port").count("02:00:00:00:00:0") == 2 and told

    told = wait_until(learn, "two clients on the bridge")
    assert told["clients"] == {"total": 2}
    assert set(told["traffic"]) == {"rx", "tx", "forward"}
    assert set(told["traffic"]["tx"]) == {"packets", "bytes", "dropped"}
    assert set(told["traffic"]["forward"]) == {"packets", "bytes"}


def test_the_exit_is_a_gateway_for_maps(programs, box):
    box("ip link add mesh0 type veth peer name far0; ip link set far0 up; ip link set mesh0 up")
    box("ip -6 route add fddd:1338:1338:1234:5678:9abc::/96 via fe80::ff:fe00:2 dev mesh0")
    plat = {"prefix": "fddd:1338:1338:1234:5678:9abc::/96", "metric": 352, "chosen": True, "own": False}
    status = {"chosen": plat["prefix"], "why": "lowest", "since_ms": 61000, "candidates": 1, "plats": [plat]}
    box.pose("/run/prefixd.sock", "half", json.dumps(status) + "\n")
    told = box.ask(programs["common"], "statistics", times=3)
    assert told["gateway"] == "12:34:56:78:9a:bc"
    assert told["gateway_nexthop"] == "02:00:00:00:00:02"
    assert told["gateway_tq"] == 254
    wanted = {
        "plat": plat["prefix"],
        "metric": 352,
        "why": "lowest",
        "since": 61,
        "plats": 1,
        "is_own": False,
    }
    assert {name: told["xlat464"].get(name) for name in wanted} == wanted


def test_without_an_exit_there_is_a_reason_and_no_gateway(programs, box):
    status = {"chosen": None, "why": "no PLAT has a route", "since_ms": None, "candidates": 0, "plats": []}
    box.pose("/run/prefixd.sock", "half", json.dumps(status) + "\n")
    told = box.ask(programs["common"], "statistics")
    assert "gateway" not in told
    assert told["gateway_tq"] == 0
    assert told["xlat464"]["why"] == "no PLAT has a route"
    assert "plat" not in told["xlat464"]


def test_clients_are_told_by_kind(programs, box):
    def client(state, home):
        return {"mac": "02:00:00:00:00:01", "state": state, "home": home}

    here, elsewhere = "fddd:1337:1337:1::a2e:102", "fddd:1337:1337:2::a2e:103"
    status = {
        "clat": "fddd:1337:1337:1::",
        "clients": [
            client("served", here),
            client("absent", here),
            client("served", elsewhere),
            client("roaming", None),
        ],
        "counters": {"roams": 3, "departures": 1, "odd": "text"},
        "roams_total": 2,
        "translating": 2,
    }
    box.pose("/run/l3roamd.sock", "half", json.dumps(status) + "\n")
    told = box.ask(programs["common"], "statistics")["xlat464"]
    assert told["clients"] == {"total": 3, "home": 1, "roamed": 1, "without_ipv4": 1, "translating": 2}
    assert (told["roaming"], told["redirected"]) == ({"roams": 3, "departures": 1}, 2)


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        ({"clat": None, "plat": None}, {"total": 2, "home": 0, "roamed": 0, "without_ipv4": 2}),
        ({"clat": None, "plat": "fddd:1338:1338:1::"}, None),
    ],
)
def test_a_node_of_ipv6_alone_tells_its_clients_and_an_exit_none(programs, box, roles, told):
    clients = [{"mac": f"02:00:00:00:00:0{number}", "state": "served", "home": None} for number in (1, 2)]
    status = {**roles, "clients": [] if roles["plat"] else clients, "counters": {}}
    box.pose("/run/l3roamd.sock", "half", json.dumps(status) + "\n")
    assert box.ask(programs["common"], "statistics")["xlat464"].get("clients") == told


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("say", ""),
        ("half", ""),
        ("half", "BABEL 1.0\n"),
        ("half", GREETING),
        ("half", GREETING + NEIGHBOUR),
        ("say", GREETING + NEIGHBOUR),
        ("half", GREETING + NEIGHBOUR[:-9]),
        ("say", GREETING + "bad\n"),
        ("say", "HTTP/1.1 200 OK\n\n"),
        ("trickle", GREETING + NEIGHBOUR + "ok\n"),
        ("flood", ""),
        ("flood", GREETING),
        ("long", ""),
        ("long", GREETING + "add neighbour "),
        ("say", GREETING + "add neighbour " + "a " * 240 + "\n" + NEIGHBOUR),
        ("say", GREETING + "\x01\x02\n\xff\n"),
        ("crowded", ""),
    ],
)
def test_a_babeld_that_does_not_speak_to_the_end_is_left_out_in_time(programs, box, mode, words):
    box.ask(programs["babel"], "neighbours")
    idle_s = box.took_s
    box.pose("port", mode, words)
    assert box.ask(programs["babel"], "neighbours") == {}
    assert box.took_s < idle_s + LIMIT_S + SLACK_S
    assert "network" in box.ask(programs["babel"], "nodeinfo")


@pytest.mark.parametrize(
    "line",
    [
        "add neighbour",
        "add neighbour 1 address fe80::1",
        "add neighbour 1 if mesh0 cost 96",
        "add neighbour 1 address 2001:db8::1 if mesh0 reach ffff rxcost 96 txcost 96 cost 96",
        "add neighbour 1 address fe80::1 if ../../../etc/shadow reach ffff rxcost 96 txcost 96 cost 96",
        "add neighbour 1 address fe80::3 if mesh0 reach 0000 rxcost 65535 txcost 65535 cost 65535",
        "add neighbour 1 address fe80::3 if mesh0 reach ffff rxcost 96 txcost 96 cost 99999",
        "add neighbour 1 address fe80::3 if mesh0 reach ffff rxcost 96 txcost 96 cost -5",
        "add neighbour 1 address fe80::3 if mesh0 reach ffff rxcost 96 txcost 96 cost",
        "add interface " + "x" * 300 + " up true ipv6 fe80::1",
        "add interface",
    ],
)
def test_a_line_that_says_no_neighbour_is_passed_over_and_the_next_one_is_heard(programs, box, line):
    box.pose("port", "half", GREETING + line + "\n" + NEIGHBOUR + "add route 1 prefix ::/0\n")
    told = box.ask(programs["babel"], "neighbours", times=3)
    told_by_yanic(told)
    assert told["babel"]["mesh0"]["neighbours"] == {
        "fe80::ff:fe00:2": {
            "rxcost": 96,
            "txcost": 256,
            "cost": 120,
            "reachability": 0xF0FF,
            "ifname": "mesh0",
            "mac": "02:00:00:00:00:02",
        }
    }
    assert list(told["babel"]) == ["mesh0"]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("say", ""),
        ("half", ""),
        ("half", '{"chosen": "fddd'),
        ("trickle", '{"chosen": null, "why": "' + "x" * 100),
        ("say", "error: no such command\n"),
        ("say", "[1, 2]"),
        (
            "say",
            '{"chosen": 5, "why": {}, "plats": [1, null, {"chosen": true}], "counters": [], "clients": [7]}',
        ),
        (
            "say",
            '{"chosen": "x/y", "why": 1, "plats": [{"chosen": true, "metric": -7}], "clat": "::", "clients": [{}]}',
        ),
        ("say", '{"chosen": "' + "f" * 5000 + '", "plats": [{"chosen": true, "metric": 1e99}]}'),
        ("say", '{"devices": [{"counters": 5}], "roams_total": "many"}'),
        ("flood", '{"a": "'),
        ("long", '{"why": "'),
        ("deep", ""),
        ("crowded", ""),
    ],
)
def test_a_daemon_that_answers_nonsense_is_left_out_in_time(programs, box, mode, words):
    box.ask(programs["common"], "statistics")
    idle_s = box.took_s
    for name in ("prefixd", "l3roamd", "siit"):
        box.pose(f"/run/{name}.sock", mode, words)
    box.write("/run/464xlat/clat.settings", "device=lo target=/var/run/siit.sock")
    told = box.ask(programs["common"], "statistics")
    assert box.took_s < idle_s + 3 * LIMIT_S + SLACK_S
    assert set(told) <= {"xlat464", "gateway_tq"}
    assert len(json.dumps(told)) < 1000
    assert told["xlat464"]["is_clat"] is True
    assert "plat" not in told["xlat464"]
