# SPDX-License-Identifier: ISC
"""Packets of real kernels through siit: what arrives whole, which errors are sent, and what garbage does.

client --IPv4-- clat --IPv6-- plat --IPv4-- server, a daemon on clat and on plat, no state between them.
"""

import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from siit_lab import CLAT_RULES, NEEDS, ROOT, SIIT
from siit_path_lab import CLIENT, SERVER, connect, receive_exactly, transfer
from waiting import wait_until

pytestmark = NEEDS
SO_RCVBUFFORCE = 33


def test_tcp_crosses_in_super_packets_both_ways(path):
    client, clat, plat, server = path
    near, far = connect(client, server)
    data = random.Random(1).randbytes(20_000_000)
    transfer(near, far, data)
    transfer(far, near, data)
    for node, device in ((clat, "clat"), (plat, "plat")):
        counters = node.counters(device)
        for way in ("out4", "out6"):
            # acknowledgements are packets, too, and pull the mean down
            mean = counters[f"{way}_bytes"] / counters[f"{way}_packets"]
            assert mean > 3000, counters
        assert counters["too-big"] == counters["malformed"] == counters["write_refused"] == 0, counters


def test_ping_and_udp_of_every_size(path):
    client, clat, _, server = path
    client.run("ping", "-c", "3", "-i", "0.05", "-W", "5", SERVER)
    client.run("ping", "-c", "1", "-s", "4000", "-W", "5", SERVER)
    counters = clat.counters("clat")
    assert (counters["reassembled"] > 0, counters["icmp-fragment"]) == (True, 0)
    echo = server.socket_in(socket.AF_INET, socket.SOCK_DGRAM)
    echo.bind((SERVER, 7000))
    asker = client.socket_in(socket.AF_INET, socket.SOCK_DGRAM)
    asker.bind((CLIENT, 7000))
    for size in (0, 1, 100, 1452, 1453, 1472, 1473, 5000, 65507):
        data = random.Random(size).randbytes(size)
        for source, sink in ((asker, echo), (echo, asker)):
            sink.settimeout(5)
            for _ in range(3):  # the first large one each way may only tell its sender the path's MTU
                with contextlib.suppress(OSError):
                    source.sendto(data, (SERVER if source is asker else CLIENT, 7000))
                    while sink.recv(70000) != data:  # a late one of an earlier size
                        pass
                    break
            else:
                pytest.fail(f"{size} bytes do not arrive: {clat.counters('clat')}")


def datagrams(client, server):
    """A socket of the client, and one of the server that it sends to; there is room for all that is not read yet."""
    sink = server.socket_in(socket.AF_INET, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    sink.bind((SERVER, 7000))
    source = client.socket_in(socket.AF_INET, socket.SOCK_DGRAM)
    source.connect((SERVER, 7000))
    return source, sink


def test_a_burst_of_small_packets_arrives_whole_and_in_order(path):
    client, _, plat, server = path
    source, sink = datagrams(client, server)
    before = plat.counters("plat")["out4_packets"]
    for burst in range(20):
        sent = [struct.pack("!II", burst, number) + bytes(14) for number in range(200)]
        for each in sent:
            source.send(each)
        assert [sink.recv(100) for _ in sent] == sent
    assert plat.counters("plat")["out4_packets"] - before <= 4000


def test_a_client_learns_the_path_mtu(path):
    client, clat, _, _ = path
    clat.run("ip", "route", "change", "fd00:64:2::/96", "via", "fd00:1::2", "mtu", "1400")
    done = client.run(
        "ping", "-M", "do", "-c", "3", "-i", "0.2", "-s", "1440", "-W", "2", SERVER, check=False
    )
    assert re.search(r"mtu ?= ?1380", done.stdout + done.stderr), (done.stdout, clat.counters("clat"))
    # ... and the translator's own limit, once the device's MTU is smaller
    client.run("ip", "route", "flush", "cache")
    clat.run("ip", "route", "change", "10.9.0.0/24", "dev", "clat")
    clat.run("ip", "link", "set", "clat", "mtu", "1300")
    wait_until(
        lambda: '"mtu_bytes": 1300' in clat.run(SIIT, "stat", "--socket", clat.socket, "--json").stdout, "MTU"
    )
    done = client.run(
        "ping", "-M", "do", "-c", "3", "-i", "0.2", "-s", "1260", "-W", "2", SERVER, check=False
    )
    assert re.search(r"mtu ?= ?1280", done.stdout + done.stderr), (done.stdout, clat.counters("clat"))
    assert clat.counters("clat")["icmp_sent"] >= 1


def test_ttl_errors_come_from_each_hop(path):
    client, clat, _, _ = path
    answers = []
    for ttl in range(1, 9):
        done = client.run("ping", "-n", "-c", "1", "-t", str(ttl), "-W", "10", SERVER, check=False)
        found = re.search(r"From (\S+).*Time to live exceeded", done.stdout)
        answers.append(found[1] if found else "answer" if " 0% packet loss" in done.stdout else "nothing")
    assert answers[0] == "10.1.0.1"
    assert answers[-1] == "answer"
    assert "nothing" not in answers, (answers, clat.counters("clat"))


def test_a_killed_daemon_is_replaced_under_an_open_connection(path):
    client, clat, plat, server = path
    near, far = connect(client, server)
    transfer(near, far, b"before" * 1000)
    routes = clat.routes()
    for number in (signal.SIGKILL, signal.SIGTERM):
        for node in (clat, plat):
            node.end_siit(number)
        assert clat.routes() == routes
        near.sendall(b"while nobody translates")
        for node in (clat, plat):
            node.start_siit()
        assert receive_exactly(far, 23) == b"while nobody translates"
        transfer(far, near, b"after" * 100_000)
    assert clat.routes() == routes
    assert CLAT_RULES.split()[1] in clat.run(SIIT, "show", "--socket", clat.socket).stdout


def test_changing_rules_loses_no_packet_in_flight(path):
    client, clat, _, server = path
    source, sink = datagrams(client, server)
    is_over = threading.Event()
    sent = [0]

    def stream():
        while not is_over.is_set():
            for _ in range(20):
                source.send(struct.pack("!I", sent[0]))
                sent[0] += 1
            # a stream that fits, also while the machine is busy: it is the change that may not lose, not the flood
            while sent[0] - len(received) > 100 and not is_over.wait(0.001):
                pass
        source.send(struct.pack("!I", last))

    received = []
    last = 0xFFFFFFFF

    def receive():
        with contextlib.suppress(TimeoutError):
            while (number := struct.unpack("!I", sink.recv(10))[0]) != last:
                received.append(number)

    threads = [threading.Thread(target=each) for each in (stream, receive)]
    for each in threads:
        each.start()
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.connect(str(clat.socket))
    replies = control.makefile("r")
    changes = 300
    for number in itertools.takewhile(lambda number: number < changes or sent[0] <= 1000, itertools.count()):
        other = f"local.v4 172.16.{number // 256 % 256}.{number % 256}/32 local.v6 2001:db8::{number:x}/128"
        commands = f"insert clat {other}\nremove clat {other}\n"
        if "on" in clat.options:  # or the program's packets would overtake the pump's
            commands = "config clat local.v4 10.1.0.0/23\nconfig clat local.v4 10.1.0.0/24\n"
        control.sendall(commands.encode())
        assert [replies.readline(), replies.readline()] == ["ok\n", "ok\n"]
    is_over.set()
    for each in threads:
        each.join()
    control.close()
    lost = sorted(set(range(sent[0])) - set(received))
    assert not lost, (len(lost), sent[0], lost[:5], clat.run("ip", "-s", "link").stdout)
    assert received == list(range(sent[0]))


@pytest.mark.parametrize("path", ["slow"], indirect=True)  # with the fast path, no queue has work
def test_queues_share_the_work(path):
    client, clat, _, server = path
    clat.ctl("del clat")
    clat.end_siit()
    clat.start_siit("--queues", "2")
    clat.ctl("add clat", f"config clat {CLAT_RULES}")
    clat.run("ip", "link", "set", "clat", "up")
    clat.run("ip", "route", "add", "10.9.0.0/24", "dev", "clat", "mtu", "1480")
    clat.run("ip", "route", "add", "fd00:64:1::/96", "dev", "clat")
    before = wakeups(clat.daemon)
    # the kernel chooses a flow's queue by a hash: with so many flows neither queue stays without one
    for port in range(7000, 7016):
        near, far = connect(client, server, port)
        transfer(near, far, bytes(100_000))
    woken = {thread: count - before[thread] for thread, count in wakeups(clat.daemon).items()}
    assert len(woken) == 2, "a thread for each queue"
    assert min(woken.values()) >= 5, woken


def wakeups(daemon):
    """How often each thread of a daemon but its first has waited for a packet, by its number."""
    threads = (path for path in Path(f"/proc/{daemon.pid}/task").iterdir() if path.name != str(daemon.pid))
    statuses = {path.name: (path / "status").read_text() for path in threads}
    return {name: int(re.search(r"^voluntary.*:\s*(\d+)", text, re.M)[1]) for name, text in statuses.items()}


GOOD4 = bytes.fromhex("4500000000004000401100000a0100020a09000203e807d000001234")

GOOD6 = bytes.fromhex(
    "6000000000001140fd00006400010000000000000a010002fd00006400020000000000000a09000203e807d000001234"
)


def repaired(data):
    """A packet with its lengths and IPv4 header checksum made right, so that it gets past the first checks."""
    if data[0] >> 4 == 4 and len(data) >= 20:
        struct.pack_into("!H", data, 2, len(data))
        data[10:12] = bytes(2)
        total = sum(struct.unpack_from("!10H", data))
        total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into("!H", data, 10, 0xFFFF ^ ((total & 0xFFFF) + (total >> 16)))
    elif len(data) >= 40:
        struct.pack_into("!H", data, 4, len(data) - 40)
    return data


def flood(node, device, packets, seed):
    """Random, truncated and damaged packets into the device, as the network might bring them."""
    chance = random.Random(seed)
    raw = node.socket_in(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    for number in range(packets):
        if number % 4 == 0:
            data = bytearray(chance.randbytes(chance.randrange(1, 1400)))
        else:
            data = bytearray(chance.choice((GOOD4, GOOD6)) + chance.randbytes(chance.randrange(0, 200)))
            for _ in range(chance.randrange(0, 5)):
                data[chance.randrange(min(len(data), 64))] = chance.randrange(256)
            data = data[: chance.randrange(1, len(data))] if number % 4 == 1 else repaired(data)
        with contextlib.suppress(OSError):
            raw.sendto(bytes(data), (device, chance.choice((0x0800, 0x86DD))))
        if number % 100 == 99:
            time.sleep(0.002)  # or what comes while the daemon has no processor is lost in the device's queue
    raw.close()


def test_garbage_is_counted_and_dropped(path):
    client, clat, _, _ = path
    flood(clat, "clat", 20000, 1)
    client.run("ping", "-c", "1", "-W", "30", SERVER)
    counters = clat.counters("clat")
    assert (
        sum(counters[name] for name in ("truncated", "bad-header", "bad-header-checksum", "malformed")) > 1000
    )
    assert clat.daemon.poll() is None


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory):
    """A tree whose extension module is built with ASan and UBSan."""
    folder = tmp_path_factory.mktemp("sanitized")
    for name in ("siit", "nat46", "runtime", "xlat464"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "siit._build"],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(folder),
            "CFLAGS": "-fsanitize=address,undefined -fno-sanitize-recover=all -g -O1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    libraries = [
        subprocess.run(
            ["cc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    if done.returncode or not all(map(os.path.isabs, libraries)):
        pytest.skip(f"no sanitizers: {done.stderr[-200:]}")
    return {
        "PYTHONPATH": str(folder),
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter keeps what it has
        "PYTHONMALLOC": "malloc",
    }


def test_garbage_finds_no_error_of_memory(namespaces, sanitized, tmp_path):
    (node,) = namespaces("sanitized")
    log = node.log.open("a")
    node.daemon = subprocess.Popen(
        node.command(
            *("env", *(f"{key}={value}" for key, value in sanitized.items())),
            *(sys.executable, "-P", "-m", "siit", "daemon", "--socket", node.socket, "--state", node.state),
        ),
        stdout=log,
        stderr=log,
        cwd=tmp_path,
    )
    wait_until(lambda: "ready at" in node.log.read_text() or node.daemon.poll() is not None, "siit is ready")
    node.ctl("add clat", f"config clat {CLAT_RULES}")
    node.run("ip", "link", "set", "clat", "up")
    node.run("ip", "route", "add", "10.9.0.0/24", "dev", "clat")
    for seed in range(2, 5):
        flood(node, "clat", 10000, seed)
    counters = node.counters("clat")
    assert counters["in4_packets"] + counters["in6_packets"] + counters["malformed"] > 10000
    assert counters["translated"] > 100, counters
    assert node.daemon.poll() is None, node.log.read_text()[-3000:]
    assert "runtime error" not in node.log.read_text()
    node.end_siit()
    assert node.daemon.returncode == 0, node.log.read_text()[-3000:]
