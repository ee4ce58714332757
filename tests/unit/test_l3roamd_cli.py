# SPDX-License-Identifier: ISC
"""The command line: what it takes, what it says, and how little `lease` needs."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from l3roamd_py import cli, cli_options, control, status_text
from l3roamd_py.help import HELPS

ROOT = Path(__file__).resolve().parents[2]
NEEDED = [
    *("--clat-range", "fddd:1337:1337::/48", "--plat-range", "fddd:1337:1338::/48"),
    *("--mac", "12:34:56:78:9a:bc", "--node-client-prefix", "fddd:1337:1339::/64"),
]
STATUS = {
    "address": "fddd:1337:1337:1234:5678:9abc:c000:1",
    "clat": "fddd:1337:1337:1234:5678:9abc::",
    "plat": None,
    "current_plat": "fddd:1337:1338:1234:5678:9abc::",
    "clients": [
        {
            "mac": f"02:00:00:00:00:{i:02x}",
            "state": "served",
            "ipv4": "10.126.0.23" if i else None,
            "addresses": [],
            "seen_s": 3.4,
            "home": None,
            "plat": None,
            "lease_s": 7300 if i else None,
            "has_token": True,
        }
        for i in range(50)
    ],
    "departed": [{"mac": "02:00:00:00:01:00", "place": "fddd::1", "left_s": 299}],
    "roams": [{"home": "fddd::a7e:17", "at": "fddd::b:a7e:17", "lease_s": 200, "serial": 7}],
    "counters": {"arrivals": 3, "bugs": 0},
    "mesh": ["mesh0"],
    "rules": "nft",
}


def settings(*words):
    return cli_options.parse_daemon(list(words))


def test_a_node_is_what_its_options_say():
    made = settings(
        "--clat",
        "--plat",
        *NEEDED,
        "--mesh",
        "m0",
        "--mesh",
        "m1",
        "--mesh",
        "m0",
        "--prefix",
        "2001:db8::/64",
    )
    assert made.options.clat == bytes.fromhex("fddd13371337 123456789abc 00000000".replace(" ", ""))
    assert made.options.plat == bytes.fromhex("fddd13371338 123456789abc 00000000".replace(" ", ""))
    assert made.mesh_devices == ["m0", "m1"]
    assert [length for _, length in made.options.prefixes] == [64]
    assert made.options.is_roam_auth_required
    assert (made.client_device, made.clat_device, made.plat_device) == ("br-client", "clat", "plat")
    assert (str(made.socket), str(made.state)) == ("/var/run/l3roamd.sock", "/var/run/l3roamd.state")


def test_a_role_that_was_not_asked_for_is_none():
    assert settings("--clat", *NEEDED).options.plat is None
    assert settings("--plat", *NEEDED, "--roam-auth", "off", "--max-lease", "600").options.clat is None
    assert settings("--clat", *NEEDED).options.max_port_clients == 512
    assert settings("--clat", *NEEDED, "--max-port-clients", "16").options.max_port_clients == 16
    assert settings("--clat", *NEEDED).table == 254
    assert settings("--clat", *NEEDED, "--table", "4294967295").table == 4294967295


def test_the_nodes_to_prepare_with_are_said():
    assert settings("--clat", *NEEDED).options.partners == ()
    words = ["--prepare", "fddd:1337:1337:200:0:a:c000:1", "--prepare", "fddd:1337:1337:200:0:b:c000:1"]
    assert [each[11] for each in settings("--clat", *NEEDED, *words).options.partners] == [0xA, 0xB]


def test_nothing_is_sent_on_unless_babel_has_been_told_to_expect_it():
    assert not settings("--clat", *NEEDED).options.sends_on
    assert settings("--clat", *NEEDED, "--send-on", "on").options.sends_on


@pytest.mark.parametrize(("word", "is_required"), [("required", True), ("off", False)])
def test_whether_a_roam_needs_a_token_is_said(word, is_required):
    assert settings("--plat", *NEEDED, "--roam-auth", word).options.is_roam_auth_required is is_required


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "a command is missing, expected one of daemon"),
        (["nonsense"], "'nonsense' is no command"),
        (["daemon"], "--clat-range is missing"),
        (["daemon", *NEEDED], "this node has no role: expected --clat, --plat or both"),
        (["daemon", "--clat", *NEEDED, "--mac", "ff:ff:ff:ff:ff:ff"], "multicast MAC"),
        (["daemon", "--clat", *NEEDED, "--plat-range", "fddd:1337:1337::/48"], "are both"),
        (["daemon", "--clat", *NEEDED, "--plat-range", "fddd::/32"], "expected a /48"),
        (["daemon", "--clat", *NEEDED, "--node-client-prefix", "fddd::/48"], "expected a /64"),
        (["daemon", "--clat", *NEEDED, "--mesh", "a/b"], "no device name"),
        (["daemon", "--clat", *NEEDED, "--max-lease", "1"], "expected a number of seconds from 60"),
        (["daemon", "--clat", *NEEDED, "--max-port-clients", "15"], "expected a number from 16 to 4096"),
        (["daemon", "--clat", *NEEDED, "--max-port-clients", "x"], "expected a number from 16 to 4096"),
        (["daemon", "--clat", *NEEDED, "--table", "main"], "--table: 'main' is no routing table"),
        (["daemon", "--clat", *NEEDED, "--rules", "pf"], "--rules: 'pf', expected one of auto, nft, xtables"),
        (["daemon", "--clat", *NEEDED, "--roam-auth", "token"], "'token', expected one of required, off"),
        (["daemon", "--clat", *NEEDED, "--prefix", "2001:db8::1/64"], "2001:db8::1/64"),
        (
            ["daemon", "--clat", *NEEDED, "--prepare", "fddd:1337:1337::1"],
            "fddd:1337:1337::1 is no clatnode's",
        ),
        (["daemon", "--clat", *NEEDED, "--prepare", "fddd:1:1::c000:1"], "fddd:1:1::c000:1 is no clatnode's"),
        (["status", "--xml"], "there is no option --xml"),
        (["status", "twice"], "'twice' is too much"),
        (["daemon", "--clat=1", *NEEDED], "--clat takes no value"),
        (["daemon", *NEEDED, "--mesh"], "--mesh needs a value, DEV"),
        (["daemon", *NEEDED, "--max-lease", "x"], "(l3roamd_py daemon --help tells more)"),
        (["ctl"], "WORD... is missing"),
        (["lease"], "expected add|old|del MAC IPV4"),
        (["lease", "--quick", "add"], "'--quick' is no option"),
        (["lease", "add", "02:00:00:00:00:01"], "expected `add MAC IPV4 [NAME]`"),
        (["lease", "add", "x", "10.0.0.1"], "'x'"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(words, says, capsys):
    try:
        status = cli.main(words)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("l3roamd_py")
    assert says in line


@pytest.mark.parametrize(
    "words", [["status"], ["ctl", "get_clients"], ["lease", "add", "02:00:00:00:00:01", "10.0.0.1"]]
)
def test_no_daemon_is_one_sentence_and_exit_code_1(words, tmp_path, capsys):
    where = ["--socket", str(tmp_path / "none")]
    assert cli.main([words[0], *where, *words[1:]]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no daemon answers at" in line
    assert line.endswith("start `l3roamd_py daemon` first")


def test_what_dnsmasq_calls_its_script_with_besides_leases_is_passed_over():
    assert cli.main(["lease", "init"]) == 0
    assert cli.main(["lease", "add", "00:01:00:01:2a", "2001:db8::7", "phone"]) == 0


@pytest.fixture
def daemon(tmp_path):
    """A double that records its line and answers what it is told to."""
    path, heard = tmp_path / "sock", []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve(answer):
        def run():
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(4096))
                connection.sendall(answer)

        threading.Thread(target=run, daemon=True).start()
        return str(path), heard

    yield serve
    listener.close()


def test_lease_tells_the_daemon_what_the_environment_says(daemon, monkeypatch):
    path, heard = daemon(b"")
    monkeypatch.setenv("DNSMASQ_TIME_REMAINING", "300")
    monkeypatch.setenv("L3ROAMD_SOCKET", path)
    assert cli.main(["lease", "add", "02:00:00:00:00:01", "10.126.0.23", "phone"]) == 0
    assert heard == [b"lease add 02:00:00:00:00:01 10.126.0.23 300\n"]


def test_a_refusal_of_the_daemon_is_a_failure_with_its_sentence(daemon, capsys):
    path, _ = daemon(b"error: 'foo' is no command\n")
    assert cli.main(["ctl", "--socket", path, "foo"]) == 1
    assert capsys.readouterr().err == "l3roamd_py: 'foo' is no command\n"


def test_ctl_prints_the_answer(daemon, capsys):
    path, heard = daemon(b'{ "clients": 0 }')
    assert cli.main(["ctl", "--socket", path, "get_clients"]) == 0
    assert capsys.readouterr().out == '{ "clients": 0 }\n'
    assert heard == [b"get_clients\n"]


def test_status_is_a_table_or_json(daemon, capsys):
    for words, check in (
        (["--json"], lambda out: json.loads(out) == STATUS),
        ([], lambda out: "clients: 50" in out),
    ):
        path, _ = daemon(json.dumps(STATUS).encode())
        assert cli.main(["status", "--socket", path, *words]) == 0
        assert check(capsys.readouterr().out)


def test_what_is_no_l3roamd_py_is_said_so(daemon, capsys):
    for answer in (b"", b"[]", b"{}", b'{"address": 1}'):
        path, _ = daemon(answer)
        assert cli.main(["status", "--socket", path]) == 1
        assert "is no l3roamd_py" in capsys.readouterr().err


def test_the_table_shows_what_fits_and_says_what_more_there_is():
    lines = status_text.render(STATUS)
    assert "clients: 50" in lines
    assert sum(line.startswith("  02:00:00:00:00:") for line in lines) == status_text.ROWS
    assert "... and 10 more" in lines
    assert "PLAT      none" in lines
    assert any("fddd::a7e:17  fddd::b:a7e:17  3 min" in line for line in lines)
    assert any(line.split() == ["arrivals", "3"] for line in lines)
    assert not any("bugs" in line for line in lines)
    assert any("  2 h  " in line for line in lines)


@pytest.mark.parametrize("words", [[], ["daemon"], ["status"], ["ctl"], ["flush"], ["lease"]])
def test_help_teaches_by_example(words, capsys):
    try:
        assert cli.main([*words, "--help"]) == 0
    except SystemExit as end:
        assert end.code == 0  # noqa: PT017 argparse's own way to end
    said = capsys.readouterr().out
    assert "l3roamd_py " in said
    assert "example" in said or "from nothing" in said
    assert max(map(len, said.splitlines())) <= 120


def test_the_help_of_ctl_names_every_command():
    assert all(name in HELPS["ctl"] for name in control.COMMANDS)


def test_lease_imports_nothing_that_takes_its_time(tmp_path):
    code = "import sys; from l3roamd_py import cli; cli.main(['lease', 'init']); print(*sorted(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    heavy = {
        "argparse",
        "pyroute2",
        "dataclasses",
        "asyncio",
        "logging",
        "json",
        "typing",
        "subprocess",
        "ipaddress",
    }
    assert not heavy & set(done.stdout.split())


def test_the_daemon_imports_what_python3_light_has_and_what_takes_little_memory():
    """OpenWrt's python3-light has no logging, no ctypes, no urllib; pyroute2's package brings all of Python along.

    OpenSSL, dataclasses, subprocess and random take 4, 3, 2.5 and 1 MB.
    """
    code = "import sys; from l3roamd_py import answers, cli_options, daemon, cleanup; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    others = {"pyroute2", "asyncio", "logging", "ctypes", "cffi", "urllib", "multiprocessing", "decimal"}
    others |= {"_hashlib", "dataclasses", "inspect", "random", "shutil", "subprocess", "tempfile", "typing"}
    assert not others & {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    ("meminfo", "roams"),
    [
        ("MemTotal:          61440 kB\nMemFree: 1 kB\n", 3840),
        ("MemTotal:       32000000 kB\n", 131072),
        ("MemTotal:           4096 kB\n", 1024),
        ("nothing of the kind\n", 1024),
    ],
)
def test_a_small_platnode_remembers_fewer_roamed_homes(tmp_path, meminfo, roams):
    (tmp_path / "meminfo").write_text(meminfo)
    assert cli_options.roams_that_fit(str(tmp_path / "meminfo")) == roams
    assert cli_options.roams_that_fit(str(tmp_path / "missing")) == 1024


@pytest.mark.parametrize("start", ["bin/l3roamd_py", "files/l3roamd-micropython/usr/sbin/l3roamd_py"])
def test_what_a_daemon_on_micropython_writes_is_for_root_alone(start, tmp_path):
    """Its state file holds the secret of the tokens, and MicroPython gives no file a mode."""
    program = tmp_path / "micropython"
    program.write_text("#!/bin/sh\numask\n")
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "L3ROAMD_PYTHON": str(program)}
    done = subprocess.run(
        [ROOT / start, "daemon"], env=environment, umask=0o022, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0077\n"
