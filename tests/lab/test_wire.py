# SPDX-License-Identifier: ISC
"""The wire in user space: each impairment does to frames what it says. One lab, a wire for each between two nodes."""

import re
import socket
import struct
import subprocess
import threading
import time
from ipaddress import IPv4Network

import pytest
from waiting import wait_until

from sdk.lab import LabError
from sdk.lab.process_table import REPOSITORY
from sdk.lab.radio import in_namespace

IMPAIRMENTS = {
    "plain": "",  # a veth, to compare with
    "delay": "delay_ms = 20",
    "jitter": "delay_ms = 20\njitter_ms = 15",
    "loss": "loss_percent = 20",
    "reorder": "delay_ms = 5\nreorder_percent = 10",
    "rate": "rate_mbit = 8",
    "mtu": "delay_ms = 1\nmtu = 1300",
    "giant": "delay_ms = 1\nmtu = 9000",
    "all": "delay_ms = 10\njitter_ms = 5\nloss_percent = 5\nreorder_percent = 5\nrate_mbit = 50\nmtu = 1400",
}
TWO = """
[lab]
links = "wire"
seed = 46
[nodes.a]
role = "plain"
[nodes.b]
role = "plain"
""" + "".join(
    f'[[links]]\nbetween = ["a", "b"]\nname = "{name}"\n{impairment}\n'
    for name, impairment in IMPAIRMENTS.items()
)
FRAMES = 2000
PORT = 4646


def network(name):
    return IPv4Network(("10.99.0.0", 16))[256 * list(IMPAIRMENTS).index(name)]


@pytest.fixture(scope="module")
def two(lab_of):
    lab = lab_of(TWO, ready=False)
    for name in IMPAIRMENTS:
        cable = lab.cables[name]
        for end, host in ((cable.a, 1), (cable.b, 2)):
            lab.exec(end.machine, ["ip", "addr", "add", f"{network(name) + host}/24", "dev", end.device])
    return lab


def ping(lab, name, *options):
    return lab.exec("a", ["ping", "-q", "-W", "2", *options, str(network(name) + 2)], check=False).stdout


def received(output):
    return int(re.search(r"(\d+) received", output).group(1))


def least_rtt_ms(output):
    return float(re.search(r"= ([\d.]+)/", output).group(1))


def udp(lab, machine, address):
    """A UDP socket of a machine, in this process."""

    def make():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        made.bind((str(address), PORT))
        return made

    return in_namespace(lab.running.pids[machine], make)


def send_numbers(lab, name, count, size, per_s):
    """Send numbered datagrams from a to b; return (number, seconds since the first was sent) as they arrive."""
    arrived = []
    with (
        udp(lab, "a", network(name) + 1) as sender,
        udp(lab, "b", network(name) + 2) as receiver,
    ):
        target = (str(network(name) + 2), PORT)
        sender.sendto(b"?", target)  # ARP first
        receiver.settimeout(0.2)
        for _ in range(200):  # whichever of these is lost
            try:
                receiver.recv(100)
                break
            except TimeoutError:
                sender.sendto(b"?", target)
        begun = time.monotonic()

        def receive():
            receiver.settimeout(2)
            try:
                while len(arrived) < count:
                    datagram = receiver.recv(10_000)
                    if len(datagram) == size:
                        arrived.append((struct.unpack_from("!I", datagram)[0], time.monotonic() - begun))
            except TimeoutError:
                pass

        thread = threading.Thread(target=receive)
        thread.start()
        for number in range(count):
            sender.sendto(struct.pack("!I", number) + bytes(size - 4), target)
            ahead = begun + number / per_s - time.monotonic()
            if ahead > 0.002:
                time.sleep(ahead)
        thread.join()
    return arrived


def undisturbed(measure, is_so):
    """Return a measurement that is so. What a busy machine loses in full queues is not the wire's loss."""
    last = []

    def is_found():
        last[:] = [measure()]
        return is_so(last[0])

    wait_until(is_found, "measurement that fits")
    return last[0]


def reordered(arrived):
    """Return how many arrived behind one that was sent later."""
    latest, late = -1, 0
    for number, _ in arrived:
        late += number < latest
        latest = max(latest, number)
    return late


def test_no_frame_is_earlier_than_twice_the_delay_on_its_way_there_and_back(two):
    shown = ping(two, "delay", "-c", "20", "-i", "0.02")
    assert received(shown) == 20
    assert least_rtt_ms(shown) >= 40
    wait_until(
        lambda: least_rtt_ms(ping(two, "delay", "-c", "20", "-i", "0.02")) < 80, "delay that is not doubled"
    )
    wait_until(lambda: least_rtt_ms(ping(two, "plain", "-c", "5", "-i", "0.02")) < 20, "veth without a delay")


def test_jitter_varies_the_delay_and_keeps_the_order(two):
    arrived = undisturbed(lambda: send_numbers(two, "jitter", 500, 100, 1000), lambda came: len(came) == 500)
    assert reordered(arrived) == 0
    rtt = ping(two, "jitter", "-c", "40", "-i", "0.02")
    low, _, high, _ = (float(value) for value in re.search(r"= ([\d./]+) ms", rtt).group(1).split("/"))
    assert 10 <= low < 40 < high
    assert high - low > 5


def test_loss_is_about_as_asked(two):
    about = range(int(0.75 * FRAMES), int(0.85 * FRAMES))
    arrived = undisturbed(
        lambda: send_numbers(two, "loss", FRAMES, 100, 10_000), lambda came: len(came) in about
    )
    assert reordered(arrived) == 0


def test_reordering_is_about_as_asked_and_loses_nothing(two):
    arrived = undisturbed(
        lambda: send_numbers(two, "reorder", FRAMES, 100, 4000), lambda came: len(came) == FRAMES
    )
    assert 0.05 * FRAMES < reordered(arrived) < 0.15 * FRAMES


def test_the_rate_is_about_as_asked(two):
    size = 1200

    def mbit(came):
        return (len(came) - 1) * (size + 42) * 8 / (came[-1][1] - came[0][1]) / 1e6

    # 30 Mbit/s into 8
    arrived = undisturbed(
        lambda: send_numbers(two, "rate", 1500, size, 3000), lambda came: 5.5 < mbit(came) < 9
    )
    assert len(arrived) < 1500  # the queue is no longer than 200 ms
    assert reordered(arrived) == 0


@pytest.mark.parametrize(("name", "mtu"), [("mtu", 1300), ("giant", 9000), ("all", 1400)])
def test_frames_of_the_mtu_pass_and_larger_ones_do_not(two, name, mtu):
    fits = ping(two, name, "-c", "10", "-i", "0.02", "-M", "do", "-s", str(mtu - 28))
    assert received(fits) >= 3
    assert received(ping(two, name, "-c", "3", "-i", "0.02", "-M", "do", "-s", str(mtu - 27))) == 0


def test_all_impairments_at_once(two):
    about = range(int(0.9 * FRAMES), int(0.99 * FRAMES))
    arrived = undisturbed(
        lambda: send_numbers(two, "all", FRAMES, 100, 2000), lambda came: len(came) in about
    )
    assert reordered(arrived) > 0.01 * FRAMES


def test_a_cut_wire_carries_nothing_and_a_healed_one_does(two):
    two.cut("delay")
    assert received(ping(two, "delay", "-c", "2", "-i", "0.02", "-W", "1")) == 0
    two.heal("delay")
    assert received(ping(two, "delay", "-c", "5", "-i", "0.02")) == 5


def test_wires_of_a_node_that_starts_again_are_laid_anew(two):
    two.kill("b")
    assert received(ping(two, "delay", "-c", "2", "-i", "0.02", "-W", "1")) == 0
    two.start("b")
    for name in ("plain", "delay"):
        cable = two.cables[name]
        for end, host in ((cable.a, 1), (cable.b, 2)):
            two.exec(end.machine, ["ip", "addr", "replace", f"{network(name) + host}/24", "dev", end.device])
        wait_until(
            lambda name=name: received(ping(two, name, "-c", "3", "-i", "0.1")) == 3, f"answers by {name}"
        )


@pytest.mark.parametrize(
    "command",
    [
        "fly me",
        "wire x",
        "wire x 1 d 1 e 1 2 0 0 0",
        "wire x 999999999 d 999999999 e 0 0 0 0 0",
        "cut nothing",
        "wire " + "x" * 900,
    ],
)
def test_a_wrong_command_to_the_wire_is_answered(two, command):
    with pytest.raises(LabError, match="wire: error: "):
        two.wiring.tell_wire(command)
    assert received(ping(two, "delay", "-c", "3", "-i", "0.1")) > 0


def test_the_wire_ends_with_its_input_and_says_its_usage():
    program = str(REPOSITORY / "build/bin/wire")
    assert subprocess.run([program], capture_output=True).returncode == 2
    done = subprocess.run([program, "1"], input="nonsense\n", capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "error: a command is wire, cut or heal\n")
