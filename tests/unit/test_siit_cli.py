# SPDX-License-Identifier: ISC
"""`siit translate` and usage errors; what needs a daemon is in tests/lab."""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from siit import cli, pcap

RULE = (
    "local.v4 10.0.0.0/8 local.v6 fd00:1::/96 local.style RFC6052 "
    "remote.v4 0.0.0.0/0 remote.v6 64:ff9b::/96 remote.style RFC6052"
)
PACKET = bytes.fromhex("4500001d000040004011 7ac1 0a000001 c0000201 03e8 07d0 0009 0000 61".replace(" ", ""))


def checksummed(packet):
    total = sum(struct.unpack("!10H", packet[:10] + bytes(2) + packet[12:20]))
    total = (total & 0xFFFF) + (total >> 16)
    return packet[:10] + struct.pack("!H", 0xFFFF ^ total) + packet[12:]


def test_a_packet_in_hex_is_translated(capsys):
    assert cli.main(["translate", "--json", "--rule", RULE, checksummed(PACKET).hex()]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "translated"
    assert answer["packets"][0].startswith("60000000" + "0009" + "113f" + "fd000001" + "0" * 16 + "0a000001")


def test_rules_may_come_as_the_commands_that_make_a_device(tmp_path, capsys):
    rules = tmp_path / "rules"
    rules.write_text(f"add clat\nconfig clat {RULE}\n")
    assert cli.main(["translate", "--rules", str(rules), checksummed(PACKET).hex(), "60"]) == 0
    assert [
        line.split(":")[1].strip() for line in capsys.readouterr().out.splitlines() if line[0] in "12"
    ] == [
        "translated",
        "truncated",
    ]


def test_captures_go_in_and_out(tmp_path):
    packets = [(struct.pack("<II", 7, 8), checksummed(PACKET)), (struct.pack("<II", 9, 1), b"\x45")]
    (tmp_path / "in").write_bytes(pcap.write(packets))
    assert pcap.read((tmp_path / "in").read_bytes()) == packets
    assert (
        cli.main(
            ["translate", "--rule", RULE, "--pcap", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
        )
        == 0
    )
    ((time, result),) = pcap.read((tmp_path / "out").read_bytes())
    assert (time, result[0] >> 4) == (packets[0][0], 6)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["translate", "--rule", RULE, "xyz"], "packet 1 is not in hex"),
        (["translate", "--rule", "local.v5 x", "45"], "is no key"),
        (["translate", "--rule", "local.style MAP", "45"], "kernel module only"),
        (["translate", "--rules", "/no/such/file", "45"], "/no/such/file cannot be read"),
        (["translate", "--rule", RULE, "--pcap", "/dev/null"], "no pcap file"),
        (["show", "--socket", "/no/such/socket"], "no daemon answers at /no/such/socket"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(arguments, says, capsys):
    assert cli.main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("siit: ")
    assert says in line


def test_a_daemon_that_hangs_is_no_reason_to_wait_for_ever(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "ANSWER_S", 0.1)
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()  # as the kernel does for a stopped program
        assert cli.main(["ctl", "--socket", path, "add clat"]) == 1
    assert "it hangs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["translate"],
        ["nonsense"],
        ["daemon", "--queues", "0"],
        ["translate", "--rule", "", "--mtu", "1279"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("siit")
    assert line.endswith("--help tells more)")


@pytest.fixture
def daemon(tmp_path):
    """A function that starts a daemon that is to be refused, and returns its exit status."""
    before = threading.stack_size()

    def start(socket="socket", state="state"):
        return cli.main(["daemon", "--socket", str(tmp_path / socket), "--state", str(tmp_path / state)])

    yield start
    threading.stack_size(before)


@pytest.mark.parametrize("name", ["socket", "state"])
def test_a_daemon_beside_another_leaves_no_file(daemon, tmp_path, capsys, name):
    with (tmp_path / f"{name}.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert daemon() == 1
    assert f"another siit daemon uses {tmp_path / name}, expected none" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.lock"]


@pytest.mark.parametrize("name", ["socket", "state"])
def test_a_daemon_that_cannot_start_leaves_no_file(daemon, tmp_path, capsys, name):
    (tmp_path / name).write_text("nonsense\n")
    assert daemon() == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "nonsense\n")]


def test_a_daemon_that_cannot_start_leaves_no_folder(daemon, tmp_path, capsys):
    assert daemon("made/for/it/socket", "/proc/no/such/place") == 1
    assert "/proc/no/such cannot hold our state" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_capture_cut_anywhere_is_refused():
    data = pcap.write([(bytes(8), b"\x45" * 20)])
    for end in range(len(data)):
        if end == 24:
            continue  # no packet at all is a capture, too
        with pytest.raises(pcap.PcapError):
            pcap.read(data[:end])


def test_a_command_for_the_daemon_does_not_load_what_only_the_daemon_needs():
    heavy = ("logging", "runtime.log", "dataclasses", "nat46.language", "siit.daemon", "siit.translator")
    code = f"import sys, siit.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])},
    )
    assert done.stdout == "[]\n", done.stderr
