# SPDX-License-Identifier: ISC
"""The relay: what it does with connections of TCP, with its file and its bounds, and what is left of it all."""

import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
import relay_lab
from reach_lab import CHURN, Server, needs, program, wait_until
from relay_lab import (
    ECHO,
    PUBLIC,
    RESET,
    TARGET,
    ask,
    is_turned_away,
    read_all,
    udp_servers,
    was_reset,
)

pytestmark = needs()
net, relay_of = relay_lab.net, relay_lab.relay_of


def test_what_one_side_sends_the_other_gets_and_the_end_of_one_way_is_passed_on(net, relay_of):
    relay_of(ECHO)
    with net[0].connect(PUBLIC, 80) as connection:
        connection.sendall(b"hello")
        assert connection.recv(9) == b"hello"
        connection.sendall(b"and bye")
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"and bye"


LATE = "table inet late { chain in { type filter hook input priority 0; tcp dport 8080 drop; }; }"


@pytest.mark.skipif(not shutil.which("nft"), reason="no nft")
def test_urgent_data_goes_along_with_the_rest(net, relay_of):
    """A mark of urgency ends the kernel's read before the end of what there is: here all of it waits for the target."""
    relay_of(ECHO)
    net[2].run("nft", LATE)
    with net[0].connect(PUBLIC, 80) as connection:
        connection.sendall(b"ab")
        connection.send(b"!", socket.MSG_OOB)
        connection.sendall(b"cd")
        net[2].run("nft", "delete table inet late")
        got = b""
        while len(got) < 5:
            got += connection.recv(9)
        assert got == b"ab!cd"


def test_ten_megabytes_arrive_whole_at_a_reader_that_pauses(net, relay_of):
    relay = relay_of(ECHO)
    sent = random.Random(1).randbytes(10 << 20)
    with net[0].connect(PUBLIC, 80) as connection:
        writer = threading.Thread(
            target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR))
        )
        writer.start()
        wait_until(lambda: relay.status()["kept_bytes"] > 0, "nobody reads, so something is kept")
        assert relay.status()["kept_bytes"] <= 2 * (256 << 10)
        assert read_all(connection) == sent
        writer.join()
    wait_until(lambda: relay.status()["connections"] == 0, "it is over")
    assert relay.status()["kept_bytes"] == 0


def test_a_reset_is_passed_on_as_a_reset_both_ways(net, relay_of):
    caller, _, target = net
    outcomes = []
    served = threading.Event()

    def serve(connection):
        if connection.recv(1) == b"r":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return
        served.set()
        outcomes.append(was_reset(connection))

    server = Server(target, TARGET, 8081, serve)
    relay = relay_of(f"tcp {PUBLIC} 81 {TARGET} 8081")
    with caller.connect(PUBLIC, 81) as connection:
        connection.sendall(b"r")
        assert was_reset(connection)
    with caller.connect(PUBLIC, 81) as connection:
        connection.sendall(b"x")
        served.wait()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    wait_until(lambda: outcomes == [True], "the target sees the reset")
    assert relay.status()["connections"] == 0
    server.close()


def test_a_target_that_has_nobody_on_the_port_is_a_reset(net, relay_of):
    relay = relay_of(f"tcp {PUBLIC} 82 {TARGET} 9999")
    assert is_turned_away(net[0], 82)
    assert relay.status()["connect_failed"] == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_proxy_protocol_tells_the_target_who_calls(net, relay_of, version):
    relay_of(f"{ECHO} proxy={version}")
    with net[0].connect(PUBLIC, 80, source="203.0.113.3") as connection:
        port = connection.getsockname()[1]
        connection.sendall(b"GET")
        connection.shutdown(socket.SHUT_WR)
        got = read_all(connection)
    if version == "v1":
        assert got == f"PROXY TCP4 203.0.113.3 {PUBLIC} {port} 80\r\nGET".encode()
    else:
        addresses = socket.inet_aton("203.0.113.3") + socket.inet_aton(PUBLIC) + struct.pack("!HH", port, 80)
        assert got == b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + addresses + b"GET"


def test_a_range_leads_port_by_port(net, relay_of):
    caller, _, target = net
    servers = [
        Server(target, TARGET, 7000 + i, lambda c, i=i: c.sendall(b"%d" % (7000 + i))) for i in range(3)
    ]
    relay_of(f"tcp {PUBLIC} 5000-5002 {TARGET} 7000")
    for i in range(3):
        with caller.connect(PUBLIC, 5000 + i) as connection:
            assert read_all(connection) == b"%d" % (7000 + i)
    for server in servers:
        server.close()


def test_who_may_come_in_and_how_often(net, relay_of):
    relay = relay_of(f"{ECHO} limit=2 from=198.51.100.0/24 from=203.0.113.2/32")
    assert is_turned_away(net[0], 80, "203.0.113.3")
    first, second = (net[0].connect(PUBLIC, 80, source="203.0.113.2") for _ in range(2))
    assert is_turned_away(net[0], 80, "203.0.113.2")
    first.close()
    wait_until(lambda: relay.status()["connections"] == 1, "one is over")
    with net[0].connect(PUBLIC, 80, source="203.0.113.2") as third, second:
        third.sendall(b"x")
        assert third.recv(1) == b"x"
    status = relay.status()
    assert (status["refused_from"], status["refused_limit"]) == (1, 1)


def test_an_idle_connection_ends_and_a_busy_one_does_not(net, relay_of):
    relay = relay_of(f"{ECHO} idle=3")
    with net[0].connect(PUBLIC, 80) as idle, net[0].connect(PUBLIC, 80) as busy:
        wait_until(lambda: speaks(busy) and relay.status()["idle_ended"], "end of the idle one")
        assert was_reset(idle)
        assert speaks(busy)
        assert relay.status()["idle_ended"] == 1


def test_a_reload_keeps_what_is_open_and_changes_the_rest(net, relay_of):
    relay = relay_of(f"{ECHO}\ntcp {PUBLIC} 90 {TARGET} 8080")
    with net[0].connect(PUBLIC, 90) as old, net[0].connect(PUBLIC, 80) as kept:
        relay.reload(f"{ECHO} proxy=v1\ntcp {PUBLIC} 91 {TARGET} 8080\n")
        for connection in (old, kept):
            connection.sendall(b"still")
            assert connection.recv(9) == b"still"
        with pytest.raises(ConnectionRefusedError):
            net[0].connect(PUBLIC, 90)
        with net[0].connect(PUBLIC, 91) as new:
            new.sendall(b"x")
            assert new.recv(1) == b"x"
        with net[0].connect(PUBLIC, 80) as new:
            assert new.recv(5) == b"PROXY"


def test_nobody_meets_a_closed_port_while_it_is_reloaded(net, relay_of):
    relay = relay_of(ECHO)
    failures, done = [], threading.Event()

    def call():
        while not done.is_set() and not failures:
            try:
                with net[0].connect(PUBLIC, 80) as connection:
                    connection.sendall(b"x")
                    assert connection.recv(1) == b"x"
            except (OSError, AssertionError) as error:
                failures.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    for i in range(20):
        relay.reload(f"{ECHO} limit={1000 + i}\n")
    done.set()
    thread.join()
    assert not failures


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("tcp x 80 ::1 80", "expected an IPv4 or IPv6 address"),
        (f"sctp {PUBLIC} 80 ::1 80", "expected tcp or udp"),
        (f"tcp {PUBLIC} 80", "expected protocol, address, ports, target and its port"),
        (f"tcp {PUBLIC} 90-80 ::1 80", "expected a port or a range FIRST-LAST"),
        (f"tcp {PUBLIC} 80-90 ::1 65530", "expected a port for the target, with room for the whole range"),
        (f"tcp {PUBLIC} 80 ::1 80 idle=-1", "expected idle=SECONDS"),
        (f"tcp {PUBLIC} 80 ::1 80 from=10.0.0.0/33", "or from=NETWORK"),
        (f"udp {PUBLIC} 80 ::1 80 proxy=v1", "the PROXY protocol is for tcp"),
        (
            f"tcp {PUBLIC} 80 ::1 81\n{ECHO}",
            "tcp port 80 at 203.0.113.7 cannot be had: Address already in use",
        ),
        (
            "tcp 192.0.2.1 80 ::1 80",
            "tcp port 80 at 192.0.2.1 cannot be had: Cannot assign requested address",
        ),
    ],
)
def test_a_file_with_a_mistake_is_refused_and_what_was_goes_on(net, relay_of, line, sentence):
    relay = relay_of(ECHO)
    before = relay.descriptors()
    with net[0].connect(PUBLIC, 80) as connection:
        relay.reload(f"tcp {PUBLIC} 99 {TARGET} 8080\n{line}\n")
        assert sentence in relay.said()
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
    with pytest.raises(ConnectionRefusedError):
        net[0].connect(PUBLIC, 99)
    net[0].connect(PUBLIC, 80).close()
    wait_until(lambda: relay.descriptors() == before, "no socket is left behind")


def test_it_does_not_stay_root_and_can_still_listen_on_a_low_port_and_read_its_file(net, relay_of, tmp_path):
    tmp_path.chmod(0o700)
    relay = relay_of(f"udp {PUBLIC} 600 {TARGET} 6000")
    lines = Path(f"/proc/{relay.pid}/status").read_text().splitlines()
    status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    assert (status["Uid"], status["Gid"], status["Groups"]) == (["65534"] * 4, ["65534"] * 4, [])
    assert int(status["CapPrm"][0], 16) == int(status["CapEff"][0], 16) == 1 << 10  # CAP_NET_BIND_SERVICE
    assert status["NoNewPrivs"] == ["1"]
    relay.reload(f"udp {PUBLIC} 600 {TARGET} 6000\ntcp {PUBLIC} 99 {TARGET} 8080\n")
    with net[0].connect(PUBLIC, 99) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
    skmem = net[1].run("ss", "-unlm", "sport", "=", ":600").stdout
    assert int(re.search(r"rb(\d+)", skmem)[1]) >= 4 << 20, "a reload takes nothing of what a listener had"


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 12000, reason="too few descriptors")
def test_ten_thousand_ports_are_reloaded_without_keeping_callers_waiting(net, relay_of):
    lines = f"{ECHO}\nudp {PUBLIC} 10000-19999 {TARGET} 10000"
    relay = relay_of(lines, program=program())
    before = relay.cpu_s()
    for i in range(3):
        relay.reload(f"{lines} limit={1000 + i}\n")
    assert relay.cpu_s() - before < 1


def test_draining_refuses_new_callers_and_ends_with_the_last(net, relay_of):
    relay = relay_of(ECHO)
    with net[0].connect(PUBLIC, 80) as connection:
        connection.sendall(b"x")
        connection.recv(1)
        relay.send_signal(signal.SIGUSR2)
        wait_until(lambda: "draining" in relay.said(), "it drains")
        with pytest.raises(ConnectionRefusedError):
            net[0].connect(PUBLIC, 80)
        relay.reload(f"{ECHO}\n")
        assert "not reloaded" in relay.said()
        with pytest.raises(ConnectionRefusedError):
            net[0].connect(PUBLIC, 80)
        connection.sendall(b"y")
        assert connection.recv(1) == b"y"
    assert relay.process.wait(60) == 0


def test_hostile_callers_leave_nothing_behind_and_others_are_served(net, relay_of):
    relay = relay_of(f"{ECHO} limit=10000\ntcp {PUBLIC} 81 {TARGET} 9999 limit=10000")
    before = relay.descriptors()
    chance = random.Random(7)
    for _ in range(1500):
        connection = net[0].open_socket(socket.AF_INET)
        try:
            connection.connect((PUBLIC, chance.choice([80, 80, 81])))
            if chance.random() < 0.5:
                connection.sendall(chance.randbytes(chance.randrange(1, 3000)))
            if chance.random() < 0.3:
                connection.shutdown(socket.SHUT_WR)
            if chance.random() < 0.7:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        except OSError:  # it was reset already
            pass
        finally:
            connection.close()
    with net[0].connect(PUBLIC, 80) as honest:
        honest.sendall(b"still here")
        assert honest.recv(20) == b"still here"
    wait_until(lambda: relay.status()["connections"] == 0, "all are over")
    # the status connection's own descriptor may still be there
    wait_until(lambda: relay.descriptors() <= before, "no descriptor is left behind")


def test_when_it_is_full_callers_wait_instead_of_being_lost(net, relay_of):
    relay = relay_of(ECHO, "--max-connections", "5")
    first = [net[0].connect(PUBLIC, 80) for _ in range(5)]
    wait_until(lambda: relay.status()["connections"] == 5, "five are in")
    with net[0].connect(PUBLIC, 80) as sixth:
        sixth.sendall(b"x")
        sixth.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sixth.recv(1)
        first.pop().close()
        sixth.settimeout(60)
        assert sixth.recv(1) == b"x"
    for connection in first:
        connection.close()


def test_when_it_is_full_of_silent_callers_others_come_in(net, relay_of):
    """A sixtieth of the idle time is silence enough then; who speaks stays."""
    relay = relay_of(f"{ECHO} idle=180", "--max-connections", "5")
    silent = [net[0].connect(PUBLIC, 80) for _ in range(4)]
    with net[0].connect(PUBLIC, 80, source="203.0.113.3") as speaker:
        wait_until(lambda: relay.status()["connections"] == 5, "five are in")
        with net[0].connect(PUBLIC, 80, source="203.0.113.3") as sixth:
            sixth.sendall(b"x")
            sixth.settimeout(0.05)
            came_in = wait_until(lambda: speaks(speaker) and speaks(sixth, b""), "the sixth comes in")
            assert came_in
            assert speaks(speaker)
    assert relay.status()["idle_ended"] >= 1
    for connection in silent:
        connection.close()


def speaks(connection, text=b"x"):
    """Whether a byte comes back."""
    connection.sendall(text)
    try:
        return len(connection.recv(1)) == 1
    except TimeoutError:
        return False


def test_the_listeners_own_descriptors_are_counted_and_callers_wait_for_one(net, relay_of, tmp_path):
    few = tmp_path / "few"
    few.write_text(f'#!/bin/sh\nulimit -n 400\nexec {program()} "$@"\n')
    few.chmod(0o755)
    relay = relay_of(f"{ECHO} limit=1000\ntcp {PUBLIC} 1000-1199 {TARGET} 1000", program=few)
    assert "the limit on descriptors allows 45 connections and 45 flows" in relay.said()
    callers = [net[0].connect(PUBLIC, 80) for _ in range(45)]
    wait_until(lambda: relay.status()["connections"] == 45, "all places are taken")
    with net[0].connect(PUBLIC, 80) as last:
        last.sendall(b"x")
        callers.pop().close()
        assert last.recv(1) == b"x", "it waited, and was not turned away"
    relay.reload(f"{ECHO} limit=1000\n")
    assert "the limit on descriptors allows 111 connections and 111 flows" in relay.said()
    for connection in callers:
        connection.close()


def test_a_thousand_open_connections_cost_little_and_give_it_back(net, relay_of):
    relay = relay_of(f"{ECHO} limit=10000", program=program())
    before, descriptors = relay.anonymous_kib(), relay.descriptors()
    callers = [net[0].open_socket(socket.AF_INET) for _ in range(1000)]
    for connection in callers:
        connection.connect((PUBLIC, 80))
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
    grown = relay.anonymous_kib() - before
    assert relay.status()["connections"] == 1000
    for connection in callers:
        connection.close()
    wait_until(lambda: relay.status()["connections"] == 0, "all are over")
    wait_until(lambda: relay.descriptors() <= descriptors, "no descriptor is left behind")
    assert grown < 1500, f"{grown} KiB for 1000 connections"


def test_the_program_says_how_it_is_used(tmp_path):
    done = subprocess.run([program(), "--max-flows", "0", "x"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[:19]) == (2, "usage: reach-relay ")
    done = subprocess.run([program(), tmp_path / "none"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be read: No such file or directory" in done.stderr


CHURN_S = 8 * CHURN


@pytest.fixture
def udp_echo(net):
    with udp_servers(net[2]):
        yield


def test_a_long_run_with_churn_leaks_nothing(net, relay_of, udp_echo):
    """Callers of all kinds at once, and reloads all the while; memory is compared after the first half."""
    lines = f"{ECHO} limit=10000\ntcp {PUBLIC} 81 {TARGET} 9999\nudp {PUBLIC} 600 {TARGET} 6000 limit=10000 idle=1\n"
    relay = relay_of(lines, program=program())
    before, end = relay.descriptors(), time.monotonic() + CHURN_S
    failures = []

    def call(seed):
        chance = random.Random(seed)
        while time.monotonic() < end:
            text = chance.randbytes(chance.choice([1, 1000, 300000]))
            try:
                with net[0].connect(PUBLIC, 80) as connection:
                    if chance.random() < 0.3:  # a rude one
                        connection.sendall(text[:1000])
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                        continue
                    writer = threading.Thread(target=connection.sendall, args=(text,))
                    writer.start()
                    got = b""
                    while len(got) < len(text):
                        got += connection.recv(1 << 16)
                    writer.join()
                    assert got == text
                is_turned_away(net[0], 81)
                with net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
                    assert ask(caller, b"x") == b"6000 x"
            except (OSError, AssertionError) as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    half = None
    while time.monotonic() < end:
        relay.reload(f"{lines}tcp {PUBLIC} {random.randrange(1000, 2000)} {TARGET} 8080\n")
        if half is None and time.monotonic() > end - CHURN_S / 2:
            half = relay.anonymous_kib()
    for thread in threads:
        thread.join()
    relay.reload(lines)
    wait_until(lambda: relay.status()["connections"] == relay.status()["flows"] == 0, "all are over")
    wait_until(lambda: relay.descriptors() <= before, "no descriptor is left behind")
    assert not failures
    assert relay.anonymous_kib() - half < 1024
