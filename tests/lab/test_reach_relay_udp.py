# SPDX-License-Identifier: ISC
"""The relay's flows of UDP: who gets the answers, who makes room, and when a flow ends."""

import contextlib
import random
import socket
import time

import pytest
import relay_lab
from reach_lab import address, needs, wait_until
from relay_lab import ECHO, PUBLIC, TARGET, ask, udp_servers

pytestmark = needs()
net, relay_of = relay_lab.net, relay_lab.relay_of


@pytest.fixture(scope="module", autouse=True)
def udp_echo(net):
    with udp_servers(net[2]):
        yield


def test_udp_answers_find_their_caller(net, relay_of):
    relay = relay_of(f"udp {PUBLIC} 600-601 {TARGET} 6000")
    callers = [net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
    for i, caller in enumerate(callers):
        assert ask(caller, b"%d" % i) == b"6000 %d" % i
        assert ask(caller, b"%d" % i, 601) == b"6001 %d" % i
    assert relay.status()["flows"] == 40
    for caller in callers:
        caller.close()


@pytest.mark.parametrize("size", [0, 1, 1400, 1472, 1473, 9000, 60000])
def test_udp_datagrams_of_any_size_arrive_whole(net, relay_of, size):
    relay_of(f"udp {PUBLIC} 600 {TARGET} 6000")
    with net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        text = random.Random(size).randbytes(size)
        assert ask(caller, text) == b"6000 " + text


def test_udp_on_all_addresses_answers_from_the_one_that_was_asked(net, relay_of):
    address(net[1], "eth0", "203.0.113.8/24")
    relay_of(f"udp 0.0.0.0 600 {TARGET} 6000")
    with net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        for asked in ("203.0.113.8", PUBLIC):
            caller.sendto(b"x", (asked, 600))
            assert caller.recvfrom(99) == (b"6000 x", (asked, 600))
            caller.close()
            caller = net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM)
    net[1].run("ip", "addr", "del", "203.0.113.8/24", "dev", "eth0")


def test_udp_who_never_got_an_answer_makes_room_and_who_talks_stays(net, relay_of):
    relay = relay_of(f"udp {PUBLIC} 600 {TARGET} 6000 limit=10000", "--max-flows", "50")
    talker = net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM)
    assert ask(talker, b"a") == b"6000 a"
    for _ in range(300):
        invented = net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM)
        invented.sendto(b"quiet", (PUBLIC, 600))
        invented.close()
    wait_until(lambda: relay.status()["datagrams_in"] == 301, "all have come")
    status = relay.status()
    assert status["flows"] == 50
    assert status["flows_evicted"] > 200  # not 251, as a port may come again
    assert ask(talker, b"b") == b"6000 b"
    assert relay.status()["flows_begun"] == status["flows_begun"]
    talker.close()


def test_udp_callers_who_never_speak_again_make_room_though_they_were_answered(net, relay_of):
    """A target that answers everybody answers invented senders too."""
    relay = relay_of(f"udp {PUBLIC} 600 {TARGET} 6000 limit=10000", "--max-flows", "50")
    talker = net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM)
    for text in (b"a", b"b"):
        assert ask(talker, text) == b"6000 " + text
    for _ in range(60):
        with net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM) as invented:
            assert ask(invented, b"x") == b"6000 x"
    waiting = net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM)
    waiting.sendto(b"quiet", (PUBLIC, 600))  # its answer is under way
    with net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM) as another:
        assert ask(another, b"y") == b"6000 y"
    status = relay.status()
    assert (status["flows"], status["refused_full"]) == (50, 0)
    assert ask(talker, b"c") == b"6000 c"
    waiting.sendto(b"z", (PUBLIC, 600))
    assert waiting.recv(9) == b"6000 z"
    assert relay.status()["flows_begun"] == status["flows_begun"], "who talks and who waits have stayed"
    talker.close()
    waiting.close()


def test_udp_one_source_has_its_limit(net, relay_of):
    relay = relay_of(f"udp {PUBLIC} 600 {TARGET} 6000 limit=3")
    callers = [net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
    for caller in callers[:3]:
        assert ask(caller, b"x") == b"6000 x"
    callers[3].settimeout(0.3)
    with pytest.raises(TimeoutError):
        ask(callers[3], b"x")
    assert relay.status()["refused_limit"] == 1
    for caller in callers:
        caller.close()


def test_udp_a_flow_ends_when_it_is_idle_and_begins_again(net, relay_of):
    relay = relay_of(f"udp {PUBLIC} 600 {TARGET} 6000 idle=1")
    with net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        assert ask(caller, b"x") == b"6000 x"
        wait_until(lambda: relay.status()["flows"] == 0, "it has ended")
        assert ask(caller, b"y") == b"6000 y"


def test_udp_flows_end_in_the_order_of_their_silence_after_a_reload_too(net, relay_of):
    lines = f"udp {PUBLIC} 600 {TARGET} 6000 idle=4"
    relay = relay_of(lines)
    with contextlib.ExitStack() as stack:
        callers = [
            stack.enter_context(net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(200)
        ]
        for caller in callers + callers:
            assert ask(caller, b"x") == b"6000 x"
        time.sleep(2)
        for caller in callers[:10]:
            assert ask(caller, b"y") == b"6000 y"
        relay.reload(f"{lines}\n")
        begun = relay.status()["flows_begun"]

        def are_the_last():
            return (
                all(ask(caller, b"z") == b"6000 z" for caller in callers[:10])
                and relay.status()["flows"] == 10
            )

        wait_until(are_the_last, "end of all that are silent")
        assert relay.status()["flows_begun"] == begun, "one that was not silent has ended, too"


def test_udp_flows_survive_a_reload_unless_their_target_changes(net, relay_of):
    relay = relay_of(f"udp {PUBLIC} 600 {TARGET} 6000")
    with net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        assert ask(caller, b"x") == b"6000 x"
        relay.reload(f"udp {PUBLIC} 600 {TARGET} 6000 limit=7\n")
        assert ask(caller, b"y") == b"6000 y"
        assert relay.status()["flows_begun"] == 1
        relay.reload(f"udp {PUBLIC} 600 {TARGET} 6001\n")
        assert ask(caller, b"z") == b"6001 z"
        relay.reload(f"{ECHO}\n")
        assert relay.status()["flows"] == 0


def test_udp_a_target_without_a_server_is_no_reason_to_stop(net, relay_of):
    relay = relay_of(f"udp {PUBLIC} 600 {TARGET} 6000\nudp {PUBLIC} 700 {TARGET} 6999")
    with net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        for _ in range(20):
            caller.sendto(b"x", (PUBLIC, 700))
        assert ask(caller, b"y") == b"6000 y"
    assert relay.process.poll() is None


@pytest.mark.parametrize(
    "sizes", [[1200], [1472], [1300, 0, 1300, 7, 1480, 1480, 1480, 3, 3, 3, 3, 9000, 9000, 100]]
)
def test_udp_bursts_arrive_datagram_by_datagram_in_order(net, relay_of, sizes):
    relay_of(f"udp {PUBLIC} 600 {TARGET} 6000")
    chance = random.Random(3)
    with net[0].open_socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        ask(caller, b"begin")
        for _ in range(5):
            burst = [chance.randbytes(size) for size in sizes * (28 // len(sizes))]
            for text in burst:
                caller.sendto(text, (PUBLIC, 600))
            assert [caller.recv(65536) for _ in burst] == [b"6000 " + text for text in burst]
