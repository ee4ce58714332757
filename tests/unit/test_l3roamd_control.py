# SPDX-License-Identifier: ISC
"""The control socket: every line is a command or one sentence, answers have the C daemon's shape, peers are borne."""

import contextlib
import json
import os
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3roamd_py import control
from l3roamd_py.control import Command, CommandError, parse
from l3roamd_py.daemon import PEER_S
from prefixd.link_roaming import PLATS_TOLD, Roaming, plats_line
from runtime import server
from runtime.lock import Lock
from runtime.loop import Poller
from runtime.server import Refused, Server, SocketError


def first_line(data, has_ended):
    return server.first_line(data, has_ended, control.line_bytes(data))[0]


MAC, MAC_TEXT = bytes.fromhex("020000000001"), "02:00:00:00:00:01"
IPV6 = bytes.fromhex("20010db8000000000000000000000001")
MAPPED4 = bytes(10) + b"\xff\xff" + bytes((10, 126, 0, 23))


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("get_clients", ()),
        ("get_prefixes", ()),
        ("get_meshifs", ()),
        ("get_roams", ()),
        ("get_status", ()),
        ("add_prefix 2001:db8::/64", ((IPV6[:8] + bytes(8), 64),)),
        ("del_prefix 10.126.0.0/16", ((bytes(10) + b"\xff\xff" + bytes((10, 126, 0, 0)), 112),)),
        ("add_meshif mesh0", ("mesh0",)),
        ("del_meshif mesh0", ("mesh0",)),
        (f"probe 2001:db8::1 {MAC_TEXT}", (IPV6, MAC)),
        (f"probe 10.126.0.23 {MAC_TEXT}", (MAPPED4, MAC)),
        (f"add_address ::ffff:10.126.0.23 {MAC_TEXT}", (MAPPED4, MAC)),
        (f"del_address 2001:db8::1 {MAC_TEXT}", (IPV6, MAC)),
        ("has_route 2001:db8::1", (IPV6,)),
        ("verbosity debug", ("debug",)),
        ("set_platprefix 2001:db8::/96", (IPV6[:12] + bytes(4),)),
        ("del_platprefix 2001:db8::/96", (IPV6[:12] + bytes(4),)),
        (f"lease add {MAC_TEXT} 10.126.0.23 300", ("add", MAC, bytes((10, 126, 0, 23)), 300)),
        (f"lease del {MAC_TEXT} 10.126.0.23", ("del", MAC, bytes((10, 126, 0, 23)))),
    ],
)
def test_a_line_is_its_command(line, values):
    name, *words = line.split()
    assert parse(line.encode()) == Command(name, values, tuple(words))
    assert parse(f"  {line}  ".encode()) == Command(name, values, tuple(words))


P1, P2, P3 = ("2001:db8::/96", "2001:db8::1:0:0/96", "2001:db8::2:0:0/96")


@pytest.mark.parametrize(
    ("line", "usable", "lost"),
    [
        ("plats lost end", 0, 0),
        (f"plats {P1} lost end", 1, 0),
        (f"plats {P1} {P2} lost {P3} end", 2, 1),
        (f"plats lost {P1} {P2} end", 0, 2),
    ],
)
def test_all_plats_are_told_in_one_line(line, usable, lost):
    told = parse(line.encode())
    assert (told.name, *map(len, told.values)) == ("plats", usable, lost)


@pytest.mark.parametrize("line", [f"plats {P1} lost {P2} end", f"plats {P1} {P2} {P3} lost end"])
def test_a_line_of_plats_that_was_cut_off_changes_nothing(line):
    for end in range(len(line)):
        with pytest.raises(CommandError):
            parse(line[:end].encode())


def test_a_line_of_plats_may_be_as_long_as_prefixd_makes_it_and_no_longer():
    longest = [
        bytes.fromhex("fddd13381338") + bytes([255 - i // 256, i % 256] * 3) + bytes(4) for i in range(300)
    ]
    line = plats_line(longest, longest[::-1]).encode()
    assert first_line(line, False) == line[:-1]
    assert [len(told) for told in parse(line[:-1]).values] == [PLATS_TOLD, PLATS_TOLD]
    assert first_line(line[:5000], False) is None
    with pytest.raises(Refused, match="more than"):
        first_line(b"plats " + b"x" * control.PLATS_BYTES, False)
    with pytest.raises(Refused, match="more than 1024 bytes"):
        first_line(b"platsx " + b"x" * 2000, False)
    with pytest.raises(CommandError, match="at most"):
        parse(b"plats " + f"{P1} ".encode() * control.PLATS_MAX + b"lost end")


def test_every_command_is_in_the_table_above_and_in_the_theory():
    assert all(name in control.__doc__ for name in control.COMMANDS)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "the line is empty, expected one of get_clients, "),
        (b"\xff\xfe", "not ASCII"),
        (b"nonsense", "'nonsense' is no command, expected one of get_clients, "),
        (b"add_prefix", "expected `add_prefix PREFIX`, not 0 words"),
        (b"get_clients now", "expected `get_clients`, not 1 words"),
        (b"add_prefix 2001:db8::1/64", "add_prefix: "),
        (b"add_meshif a/b", "no device name"),
        (b"add_meshif interfacetoolong", "no device name"),
        (b"probe 2001:db8::1 03:00:00:00:00:01", "multicast MAC"),
        (b"has_route 10.0.0.1", "not an IPv6 address"),
        (b"verbosity loud", "expected one of none, verbose, debug"),
        (b"set_platprefix 2001:db8::/64", "is a /64, expected a PLAT prefix, which is a /96"),
        (b"lease take 02:00:00:00:00:01 10.0.0.1 3", "expected one of add, old, del"),
        (b"lease add 02:00:00:00:00:01 10.0.0.1 -3", "no number of seconds"),
        (b"lease add 02:00:00:00:00:01 10.0.0.1 99999999999", "no number of seconds"),
        ("lease add 02:00:00:00:00:01 10.0.0.1 ³".encode(), "not ASCII"),
    ],
)
def test_what_is_no_command_is_one_sentence(line, says):
    with pytest.raises(CommandError, match=r"^[^\n]*$") as caught:
        parse(line)
    assert says in str(caught.value)


def sentence_of(line):
    """What is wrong with a line, "" if nothing is; anything but CommandError is a bug."""
    try:
        assert parse(line).name in control.COMMANDS
    except CommandError as error:
        return str(error)
    return ""


@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_no_line_raises_anything_else(line):
    assert "\n" not in sentence_of(line)


@given(st.sampled_from(sorted(control.COMMANDS)), st.lists(st.text(max_size=20), max_size=5))
def test_no_words_behind_a_command_raise_anything_else(name, words):
    assert "\n" not in sentence_of(" ".join([name, *words]).encode())


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_line_ends_as_the_c_daemon_lets_it_end(end):
    assert first_line(b"get_clients" + end + b"more\n", False) == b"get_clients"
    assert first_line(b"get_clients", False) is None
    assert first_line(b"get_clients", True) == b"get_clients"
    assert first_line(b"", True) is None


def test_a_line_without_end_is_refused_before_it_grows():
    for data in (b"x" * 1025, b"x" * 1025 + b"\n"):
        with pytest.raises(Refused, match="more than 1024 bytes"):
            first_line(data, False)


def test_answers_have_the_shape_and_the_spacing_of_json_c():
    assert control.clients_answer([]) == '{ "clients": 0 }'
    assert control.clients_answer(
        [(MAC_TEXT, "wlan0", {MAPPED4: 1, IPV6: 0}), ("02:00:00:00:00:02", "", {})]
    ) == (
        '{ "clients": 2, "clientlist": { "02:00:00:00:00:01": { "interface": "wlan0", "addresses": '
        '{ "::ffff:10.126.0.23": { "state": 1 }, "2001:db8::1": { "state": 0 } } }, '
        '"02:00:00:00:00:02": { "interface": "" } } }'
    )
    assert control.prefixes_answer([(IPV6[:8] + bytes(8), 64)]) == (
        '{ "prefixes": [ "::ffff:0.0.0.0", "fe80::", "2001:db8::" ] }'
    )
    assert control.meshifs_answer([]) == '{ "mesh_interfaces": [ ] }'
    assert control.meshifs_answer(["mesh0", "m1"]) == '{ "mesh_interfaces": [ "mesh0", "m1" ] }'
    assert control.has_route_answer("fd::1", True) == "found route fd::1/128: YES\n"


@given(st.text())
def test_whatever_a_text_holds_is_json(text):
    assert json.loads(control.spaced({text: [text, 1, {}]})).popitem()[1][1:] == [1, {}]


# The socket itself


class Loop:
    """A server and its poller, in steps. answer: what a command gets."""

    def __init__(self, path, answer):
        self.path = path
        self.now_s = 0.0
        self.poller = Poller()
        self.command_answer = answer
        self.server = Server(str(path), self.poller, lambda: self.now_s, PEER_S, self)

    def line_bytes(self, data):
        return control.line_bytes(data)

    def answer(self, line):
        return (self.command_answer(parse(line)),)

    def step(self, now_s=0.0, rounds=10):
        self.now_s = now_s
        for _ in range(rounds):
            ready = self.poller.ready(0)
            for descriptor in ready:
                self.poller.call(descriptor)
            if not ready:
                break
        self.server.tick(now_s)

    def connect(self, data=b""):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(30)
        peer.connect(str(self.path))
        peer.sendall(data)
        return peer

    def ask(self, data):
        with self.connect(data) as peer:
            self.step()
            answer = b""
            while piece := peer.recv(1 << 16):
                answer += piece
                self.step()
            return answer


@pytest.fixture
def loop(tmp_path):
    asked = []

    def answer(command):
        asked.append(command.name)
        if command.name == "get_roams":
            raise CommandError("no")
        return "x" * 3_000_000 if command.name == "get_status" else "OK"

    made = Loop(tmp_path / "sock", answer)
    made.asked = asked
    yield made
    made.server.close()


def test_a_connection_carries_one_command_and_ends(loop):
    assert loop.ask(b"get_clients\nget_meshifs\n") == b"OK"
    assert loop.asked == ["get_clients"]
    assert loop.ask(b"get_roams\n") == b"error: no\n"
    assert loop.ask(b"foo\n").startswith(b"error: 'foo' is no command")
    assert loop.server.counters["socket_refused"] == 2


def test_a_line_without_its_end_is_carried_out_when_the_peer_has_no_more_to_say(loop):
    with loop.connect(b"get_clients") as peer:
        loop.step()
        assert loop.asked == []
        peer.shutdown(socket.SHUT_WR)
        loop.step()
        assert peer.recv(9) == b"OK"


def test_a_command_may_come_byte_by_byte(loop):
    with loop.connect() as peer:
        for byte in b"get_clients\n":
            peer.send(bytes((byte,)))
            loop.step()
        assert peer.recv(9) == b"OK"


def test_a_peer_that_does_not_wait_for_the_answer_is_heard_in_its_turn(loop):
    for name in (b"get_clients", b"get_meshifs", b"get_prefixes") * 5:
        loop.connect(name + b"\n").close()
    loop.step()
    assert loop.asked == ["get_clients", "get_meshifs", "get_prefixes"] * 5


def test_who_is_silent_is_sent_away_in_time(loop):
    with loop.connect(b"get_cl") as peer:
        loop.step(10.0)
        assert loop.server.next_deadline == 10.0 + PEER_S
        loop.step(14.9)
        loop.step(15.0)
        assert peer.recv(9) == b""
    assert loop.server.next_deadline is None
    assert loop.server.counters["socket_late"] == 1


def test_a_crowd_costs_the_eldest_their_place_and_nobody_else(loop):
    peers = []
    for _ in range(3 * server.PEERS_MAX):
        peers.append(loop.connect())
        loop.step()
    assert loop.server.counters["socket_crowded"] == 2 * server.PEERS_MAX
    assert loop.ask(b"get_clients\n") == b"OK"
    for peer in peers:
        peer.close()


def test_who_reads_nothing_holds_no_more_than_there_is_room_for(loop):
    peers = []
    for _ in range(8):
        peers.append(loop.connect(b"get_status\n"))
        loop.step()
    held = sum(len(peer.unread) for peer in loop.server._peers.values())
    assert held <= server.ROOM_BYTES
    assert loop.ask(b"get_clients\n") == b"OK"
    for peer in peers:
        peer.close()


def test_a_large_answer_comes_whole_to_who_reads_it(loop):
    assert loop.ask(b"get_status\n") == b"x" * 3_000_000


@pytest.mark.parametrize("extra", [1, 5_000, 100_000])
def test_a_line_that_is_too_long_is_told_so_and_not_cut_off(loop, extra):
    with loop.connect() as peer:
        peer.setblocking(False)
        unsent = memoryview(b"x" * (control.LINE_BYTES + extra) + b"\n")
        while unsent:
            unsent = unsent[peer.send(unsent) :]
            loop.step()
        loop.step()
        assert peer.recv(1 << 16) == b"error: the line has more than 1024 bytes, expected one command\n"
        assert peer.recv(9) == b""  # an end, no reset
    loop.step()
    assert loop.server.counters["socket_refused"] == 1
    assert loop.server.next_deadline is None


def test_a_line_without_end_ends_by_its_length_or_by_time(loop):
    with loop.connect() as endless, loop.connect(b"x" * 2000) as idle:
        endless.setblocking(False)
        sent = 0
        with contextlib.suppress(BrokenPipeError):
            while sent < 3 * server.DRAIN_BYTES:
                sent += endless.send(b"x" * 1000)
                loop.step()
        assert sent < 1.1 * server.DRAIN_BYTES
        held = [peer.said for peer in loop.server._peers.values()]
        assert held == [b""]  # of the idle one
        loop.step(PEER_S)
        assert idle.recv(99).startswith(b"error: the line has more")
    assert loop.server.next_deadline is None


def test_what_comes_behind_a_command_is_no_reset(loop):
    assert loop.ask(b"get_clients\n" + b"x" * 5000) == b"OK"


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(loop, tmp_path):
    with pytest.raises(SocketError, match="another daemon answers at"):
        server.listen(str(loop.path))
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    with server.listen(str(stale)) as listener:
        assert listener.fileno() >= 0
    assert stale.stat().st_mode & 0o777 == 0o600
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(SocketError, match="is there and no socket"):
        server.listen(str(file))
    assert file.read_text() == "precious"


def test_one_daemon_a_socket(tmp_path):
    path = str(tmp_path / "sock")
    lock = Lock(path, "l3roamd_py")
    with pytest.raises(SocketError, match=r"another l3roamd_py uses .* or choose another --socket"):
        Lock(path, "l3roamd_py")
    lock.release()
    Lock(path, "l3roamd_py").release()
    assert not list(tmp_path.iterdir())


def test_nothing_here_takes_long(loop):
    begun_s = time.monotonic()
    for _ in range(200):
        loop.ask(b"get_clients\n")
    assert time.monotonic() - begun_s < 30


def test_prefixd_says_of_a_roaming_daemon_with_nothing_to_tell_it_that_it_is_there(tmp_path):
    path = str(tmp_path / "l3roamd.sock")
    link = Roaming(path, lambda: None)
    seen = [link.state]
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(path)
        link.tick(0)
        seen.append(link.state)
    os.unlink(path)
    link.tick(link.deadline_ms())
    assert [*seen, link.state] == ["not there", "there", "not there"]
