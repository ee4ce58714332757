# SPDX-License-Identifier: ISC
"""siit's daemon and its devices: what it takes over, refuses and leaves behind, however it ends."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest
from siit_lab import CLAT_RULES, NEEDS, SIIT
from waiting import wait_until

pytestmark = NEEDS


@pytest.fixture
def alone(namespaces):
    (node,) = namespaces("alone")
    node.start_siit()
    return node


def test_a_second_daemon_is_refused_and_changes_nothing(alone):
    alone.ctl("add clat")
    before = alone.state.read_bytes()
    for socket_path, state in ((alone.socket, f"{alone.state}2"), (f"{alone.socket}2", alone.state)):
        second = alone.run(SIIT, "daemon", "--socket", socket_path, "--state", state, check=False)
        assert second.returncode == 1
        assert re.fullmatch(r"siit: another siit daemon uses \S+, expected none: .*\n", second.stderr)
    assert alone.state.read_bytes() == before
    assert "add clat" in alone.run(SIIT, "show", "--socket", alone.socket).stdout


def test_busy_device_names_are_refused_and_nothing_is_left(alone):
    alone.run("ip", "link", "add", "bridge0", "type", "bridge")
    alone.run("ip", "tuntap", "add", "mine", "mode", "tap")
    for name in ("lo", "bridge0", "mine"):
        done = alone.ctl(f"add {name}", check=False)
        assert done.returncode == 1
        assert re.fullmatch(rf"siit: {name} is a device, .*expected a name that is free\n", done.stderr)
    owner = subprocess.Popen(
        alone.command(sys.executable, "-c", OPEN_A_TUN), stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    try:
        assert owner.stdout.readline() == b"held\n"
        done = alone.ctl("add held", check=False)
        assert re.fullmatch(r"siit: held is a TUN device that another program has open, .*\n", done.stderr)
    finally:
        owner.communicate()
    status = json.loads(alone.run(SIIT, "stat", "--socket", alone.socket, "--json").stdout)
    assert status == {"devices": [], "unwritten": ""}
    assert not alone.state.exists()


OPEN_A_TUN = """
import fcntl, os, struct, sys
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"held", 0x1001))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_device_comes_and_goes(alone):
    alone.ctl("add clat")
    alone.run("ip", "link", "show", "clat")
    alone.ctl("del clat")
    assert alone.run("ip", "link", "show", "clat", check=False).returncode
    alone.ctl("add clat", "del clat", "add clat")
    alone.run("ip", "link", "show", "clat")


def links(node):
    return set(re.findall(r"^\d+: ([^:@]+)", node.run("ip", "link").stdout, re.MULTILINE))


@pytest.fixture
def full(alone, tmp_path):
    """A daemon whose state file lies in a file system without a free byte: `alone`, and what gives its bytes back."""
    alone.end_siit()
    folder = tmp_path / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=20", "tmpfs", folder], check=True)
    try:
        alone.state = folder / "rules"
        alone.start_siit()
        alone.ctl("add clat")
        filler = folder / "filler"
        with contextlib.suppress(OSError):
            filler.write_bytes(bytes(1 << 20))
        yield alone, filler
        alone.end_siit()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_file_system_stops_no_command_and_is_caught_up_with(full):
    alone, filler = full
    alone.ctl("add plat", "del clat", f"config plat {CLAT_RULES}")
    assert links(alone) == {"lo", "plat"}
    shown = alone.run(SIIT, "show", "--socket", alone.socket).stdout
    assert ("add plat" in shown, "RFC6052" in shown, "clat" in shown) == (True, True, False)
    stat = alone.run(SIIT, "stat", "--socket", alone.socket)
    assert "cannot be written: No space left on device; the rules hold" in stat.stderr
    assert alone.log.read_text().count("cannot be written") == 1
    assert "add clat" in alone.state.read_text(), "the file before, whole"
    filler.unlink()
    wait_until(lambda: "is written again" in alone.log.read_text(), "the daemon says so")
    assert "clat" not in alone.state.read_text()
    assert alone.run(SIIT, "stat", "--socket", alone.socket).stderr == ""
    alone.end_siit(signal.SIGKILL)
    alone.start_siit()
    assert alone.run(SIIT, "show", "--socket", alone.socket).stdout == shown


def test_a_state_file_that_is_a_folder_stops_no_command_either(alone):
    alone.ctl("add clat")
    alone.state.unlink()
    alone.state.mkdir()
    alone.ctl("add plat", "del clat")
    assert links(alone) == {"lo", "plat"}
    assert "cannot be written: Is a directory" in alone.log.read_text()
    alone.state.rmdir()
    wait_until(alone.state.is_file, "the state file")


def test_a_daemon_without_descriptors_refuses_and_lives(alone):
    alone.ctl("add clat")
    in_use = len(os.listdir(f"/proc/{alone.daemon.pid}/fd"))
    _, hard = resource.prlimit(alone.daemon.pid, resource.RLIMIT_NOFILE)
    results = []
    for spare in range(1, 8):  # one is the connection's
        resource.prlimit(alone.daemon.pid, resource.RLIMIT_NOFILE, (in_use + spare, hard))
        done = alone.ctl("add plat", check=False)
        results.append(done.returncode)
        assert done.returncode == 0 or "Too many open files" in done.stderr
        assert ("plat" in links(alone)) == (done.returncode == 0)
        if done.returncode == 0:
            alone.ctl("del plat")
    assert set(results) == {0, 1}
    assert alone.daemon.poll() is None
    assert links(alone) == {"lo", "clat"}


def test_a_daemon_killed_at_any_moment_leaves_only_what_its_state_file_knows(alone):
    commands = "".join(f"add d{i}\ndel d{i}\n" for i in range(300))
    for delay_s in (0.005, 0.02, 0.05, 0.1, 0.2):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(alone.socket))
        client.sendall(commands.encode())
        assert client.recv(1)
        time.sleep(delay_s)  # the moment is the test's input
        alone.end_siit(signal.SIGKILL)
        client.close()
        known = set(re.findall(r"^add (\S+)", alone.state.read_text(), re.MULTILINE))
        wait_until(
            lambda known=known: links(alone) <= {"lo", *known}, "no device but those in the state file"
        )
        alone.start_siit()
        assert links(alone) == {"lo", *known}
        for name in known:
            alone.ctl(f"del {name}")
    alone.ctl("add last")  # whatever was under way when the last one was killed, this writes the file anew
    beside = {each.name for each in alone.state.parent.glob(f".{alone.state.name}*")}
    assert not beside, "the file that a killed daemon was writing was never taken over"


def test_a_device_deleted_by_others_is_forgotten(alone):
    alone.ctl("add clat", "add plat")
    alone.run("ip", "link", "delete", "clat")
    show = (SIIT, "show", "--socket", alone.socket)
    wait_until(lambda: "clat" not in alone.run(*show).stdout, "the daemon notices")
    assert "plat" in alone.run(*show).stdout
    alone.ctl("add clat")


def test_a_restart_takes_over_a_device_that_nobody_holds(alone):
    alone.ctl("add clat", f"config clat {CLAT_RULES}")
    index = alone.run("cat", "/sys/class/net/clat/ifindex", check=False).stdout
    alone.end_siit(signal.SIGKILL)
    assert alone.socket.exists()
    alone.start_siit()
    assert alone.run("cat", "/sys/class/net/clat/ifindex", check=False).stdout == index
    assert "fd00:64:1::/96" in alone.run(SIIT, "show", "--socket", alone.socket).stdout


def test_a_damaged_state_file_is_refused_by_line(alone):
    alone.end_siit()
    alone.state.write_text("add clat\nconfig clat local.v4 nonsense\n")
    done = alone.run(SIIT, "daemon", "--socket", alone.socket, "--state", alone.state, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"siit: \S+: line 2: local.v4: .* correct the file or delete it\n", done.stderr)
    assert alone.run("ip", "link", "show", "clat", check=False).returncode


def test_a_greedy_client_blocks_nobody(alone):
    alone.ctl("add clat")
    greedy = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    greedy.connect(str(alone.socket))
    greedy.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(100_000):
            greedy.send(b"stat\n" * 100)
    silent = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(100)]
    for each in silent:
        each.connect(str(alone.socket))
    assert alone.ctl("config clat debug 1").returncode == 0
    for each in (greedy, *silent):
        each.close()
    assert alone.ctl("del clat").returncode == 0


def test_ctl_stops_at_what_is_refused(alone):
    done = alone.ctl("add clat", "add clat", "add plat", check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "siit: clat exists already, expected a name that is free\n",
    )
    assert "plat" not in alone.run(SIIT, "show", "--socket", alone.socket).stdout
    assert alone.run(SIIT, "ctl", "--socket", alone.socket, input="add plat\n\ndel plat\n").returncode == 0


def test_ctl_sends_what_was_written_and_reads_every_reply(alone):
    done = alone.ctl("add \u00e9", check=False)
    assert "not ASCII" in done.stderr
    assert done.returncode == 1
    done = alone.ctl("add clat\nadd clat\nadd plat", check=False)
    assert done.stderr == "siit: clat exists already, expected a name that is free\n"
    assert done.returncode == 1
    assert links(alone) == {"lo", "clat"}


def fast_path(node):
    (described,) = json.loads(node.run(SIIT, "stat", "--socket", node.socket, "--json").stdout)["devices"]
    return described["fast"]


def test_auto_has_the_fast_path_where_a_trial_of_it_is_passed(namespaces):
    (node,) = namespaces("auto")
    node.start_siit("--fast", "auto")
    node.ctl("add clat", f"config clat {CLAT_RULES}")
    assert fast_path(node) == "on"
    assert links(node) == {"lo", "clat"}, "the trial's device went with its namespace"


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("auto", "off: it cannot be tried without a network namespace: Operation not permitted"),
        ("on", "off: the kernel allows no BPF (lockdown, or no CAP_BPF and CAP_NET_ADMIN)"),
    ],
)
def test_without_the_fast_path_the_daemon_says_why_and_translates(namespaces, mode, reason):
    (node,) = namespaces(f"without-{mode}")
    node.wrapper = ("setpriv", "--bounding-set=-bpf,-sys_admin", "--inh-caps=-bpf,-sys_admin")
    node.start_siit("--fast", mode)
    node.ctl("add clat", f"config clat {CLAT_RULES}")
    assert fast_path(node) == reason
    assert reason.removeprefix("off: ") in node.log.read_text()
    node.run("ip", "link", "set", "clat", "up")
    node.run("ip", "address", "add", "10.1.0.1/32", "dev", "lo")
    node.run("ip", "route", "add", "10.9.0.0/24", "dev", "clat", "src", "10.1.0.1")
    node.run("ping", "-c", "1", "-W", "1", "10.9.0.1", check=False)
    assert node.counters("clat")["translated"] == 1


def test_lists_of_packets_are_asked_and_set_for_each_device(alone):
    def lists(*words):
        return alone.run(SIIT, "gro-list", "--socket", alone.socket, *words).stdout

    alone.run("ip", "link", "add", "one", "type", "veth", "peer", "name", "other")
    assert lists() == ""
    assert lists("on", "one", "gone") == ""
    assert lists() == "one\n"
    assert "rx-gro-list: on" in alone.run("ethtool", "-k", "one").stdout
    lists("on", "other")
    lists("off", "one", "gone")
    assert lists() == "other\n"
    assert "rx-gro-list: off" in alone.run("ethtool", "-k", "one").stdout
    alone.ctl("add clat")
    assert lists("--unless-fast", "clat") == "other\n"
    # what a shell takes for something else is neither told nor taken
    alone.run("ip", "link", "set", "other", "name", "a;b")
    assert lists() == ""
    assert alone.run(SIIT, "gro-list", "on", "a;b", check=False).returncode == 2


@pytest.mark.parametrize("numbers", [(1, 3), (3, 1)])
def test_a_device_that_another_number_of_queues_left_is_taken_over_with_one(alone, numbers):
    for number in numbers:
        alone.end_siit()
        alone.start_siit("--queues", str(number))
        alone.ctl("add clat", check=number == numbers[0])
    (device,) = json.loads(alone.run(SIIT, "stat", "--socket", alone.socket, "--json").stdout)["devices"]
    assert (device["attached"], device["queues"]) == (True, 1)
