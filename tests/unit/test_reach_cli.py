# SPDX-License-Identifier: ISC
"""`reach` as people type it: what is wrong is one sentence and status 2, what the machine refuses is status 1."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from reach import keys
from reach.cli import COMMANDS, main
from reach.cli_words import make_parser

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "reach" / "examples").glob("*.toml"))


@pytest.fixture
def reach(tmp_path, monkeypatch, capsys):
    """A function that runs `reach` in a folder with a description; returns status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    shutil.copy(ROOT / "reach" / "examples" / "uplink.toml", tmp_path / "reach.toml")

    def run(*words):
        try:
            status = main(["--state", str(tmp_path / "state"), *words])
        except SystemExit as end:  # argparse's
            status = end.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return status, said.out, said.err

    return run


WRONG = [
    ("up", "arguments are required: END"),
    ("up nobody", 'reach: no end "nobody" in reach.toml; there is server, roof, church\n'),
    ("up ../roof", "'../roof' is no END: a name is letters, digits and hyphens"),
    ("down ../../etc/passwd", "is no END"),
    ("confirm a/b", "is no END"),
    ("down nobody", 'no end "nobody"'),
    ("confirm nobody", 'no end "nobody"'),
    ("status nobody", 'no end "nobody"'),
    ("test nobody", 'no end "nobody"'),
    ("keys nobody", 'no end "nobody"'),
    ("up roof --confirm-within -1", "'-1' is no time to wait, expected 0 to 86400 seconds"),
    ("up roof --confirm-within soon", "'soon' is no time to wait"),
    ("up roof", "reach: the public key of server is missing: `reach keys server` there, then copy"),
    ("render roof --for openwrt", "the public key of server is missing"),
    ("render roof --for dos", "invalid choice: 'dos'"),
    ("render roof", "arguments are required: --for"),
    ("render roof --for openwrt --with-private-key", "only files for wg-quick"),
    ("example dslite", 'no example "dslite"; there is 4in6, bridge'),
    ("example exitt", 'did you mean "exit"?'),
    ("frobnicate", "invalid choice: 'frobnicate'"),
    ("check now", "unrecognized arguments: now"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_what_is_typed_wrong_is_said_with_what_would_be_right_and_changes_nothing(
    reach, tmp_path, words, sentence
):
    status, out, said = reach(*words.split())
    assert (status, out) == (2, "")
    assert sentence in said
    assert [path.name for path in tmp_path.iterdir()] == ["reach.toml"]


FILES = [
    (b"", "error: server: is missing, or is no table; it begins with the line [server]"),
    (b"\xff\xfe[server]", "reach.toml is no UTF-8 text, from byte 0 on"),
    (b"x" * (1 << 20) + b"x", "reach.toml is larger than a description can be"),
    (b"[server]\n[server]", "error: reach.toml: no TOML: Cannot declare ('server',) twice"),
    (b"\x7fELF\x02", "error: reach.toml: no TOML"),
    (b'server = "x"', "error: server: is missing, or is no table"),
    (b"home = 1", "error: home: each home is a table with a name: [home.NAME]"),
    (b"publish = {}", "error: publish: each one begins with the line [[publish]]"),
    (b'[server]\ndevice = "eth0"\nipv4 = "203.0.113.7"\n["a\\nb"]', "error: a\\nb: no such key here"),
]


@pytest.mark.parametrize(("content", "sentence"), FILES, ids=range(len(FILES)))
@pytest.mark.parametrize("words", ["check", "up server", "render server --for debian", "status server"])
def test_a_file_that_is_no_description_is_said(reach, tmp_path, content, sentence, words):
    (tmp_path / "reach.toml").write_bytes(content)
    status, out, said = reach(*words.split())
    assert status == 2
    assert sentence in out + said
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "words",
    [
        *("check", "up roof", "render roof --for debian", "status roof", "test roof"),
        *("keys roof", "down roof", "confirm roof"),
    ],
)
def test_a_description_without_sense_is_refused_by_everybody(reach, tmp_path, words):
    text = (tmp_path / "reach.toml").read_text()
    bridge = '[link.br]\nkind = "bridge"\nmembers = { roof = 8 }\n'  # over nothing
    (tmp_path / "reach.toml").write_text(f"{text}\n{bridge}")
    status, out, said = reach(*words.split())
    assert status == 2
    assert "error: link.br.remotes: roof is missing" in out + said
    assert [path.name for path in tmp_path.iterdir()] == ["reach.toml"]


def test_a_file_from_windows_is_one_as_well(reach, tmp_path):
    text = (tmp_path / "reach.toml").read_text()
    (tmp_path / "reach.toml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert reach("check")[:2] == (0, "reach.toml: nothing to complain about\n")


def test_a_file_that_is_not_there_is_said_with_how_to_begin(reach, tmp_path):
    (tmp_path / "reach.toml").unlink()
    assert reach("check") == (
        2,
        "",
        "reach: there is no reach.toml; `reach example` shows how to begin one\n",
    )
    (tmp_path / "reach.toml").mkdir()
    assert reach("check") == (2, "", "reach: reach.toml cannot be read: Is a directory\n")


def test_wrong_keys_keep_up_from_starting(reach, tmp_path):
    for end in ("server", "roof"):
        keys.write(tmp_path / "keys", end)
    (tmp_path / "keys" / "roof.key").write_text("secret, but none")
    sentence = "keys/roof.key: no WireGuard key: expected 44 characters that end in ="
    assert reach("up", "roof") == (2, "", f"reach: error: {sentence}\n")
    assert reach("keys", "roof")[0] == 2
    (tmp_path / "keys" / "roof.key").write_bytes(b"\xff" * 44)
    assert sentence in reach("check")[1]
    assert reach("keys", "roof")[0] == 2


def test_what_is_damaged_of_the_state_is_said_and_left(reach, tmp_path):
    (tmp_path / "state").mkdir()
    for content in ("{", "[1]", '[{"step": {}}]', "\0"):
        (tmp_path / "state" / "server.json").write_text(content)
        status, _, said = reach("down", "server")
        assert (status, said.count("\n")) == (1, 1)
        assert "server.json is damaged; take the links away by hand, then delete it" in said
        assert (tmp_path / "state" / "server.json").read_text() == content


def test_the_second_down_has_nothing_to_do(reach):
    assert reach("down", "server") == (0, "server is down, 0 steps taken back\n", "")


def nobody():
    """The words before a command that make it nobody's."""
    words = ["setpriv", "--reuid", "65534", "--clear-groups", "--"]
    if subprocess.run([*words, ROOT / "bin/reach", "--help"], capture_output=True).returncode:
        return ["unshare", "--user", "--"]  # where nobody may not read the tree, as in /root
    return words


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes nobody, which only root can")
def test_status_without_root_says_what_it_cannot_see():
    words = [ROOT / "bin/reach", "--file", ROOT / "reach/examples/exit.toml", "status", "server", "--json"]
    done = subprocess.run([*nobody(), *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "only root sees firewalls and peers: run it with sudo" in json.loads(done.stdout)["problems"]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes nobody, which only root can")
def test_without_root_one_line_says_so(tmp_path):
    tmp_path.chmod(0o777)
    words = [ROOT / "bin/reach", "--file", EXAMPLES[0], "--state", "/proc/1/root/reach", "down", "server"]
    done = subprocess.run([*nobody(), *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Permission denied; run it as root, or with sudo" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_examples_are_listed_and_printed(reach):
    status, listed, _ = reach("example")
    assert (status, [line.split()[0] for line in listed.splitlines()]) == (
        0,
        [path.stem for path in EXAMPLES],
    )
    for path in EXAMPLES:
        assert reach("example", path.stem) == (0, path.read_text(), "")


def test_every_command_has_a_help_that_fits_a_terminal_and_shows_its_options(reach):
    status, text, _ = reach("--help")
    assert status == 0
    for command in COMMANDS:
        assert f"\n    {command} " in text
        status, own, _ = reach(command, "--help")
        assert status == 0
        assert max(map(len, own.splitlines())) <= 115
        assert len(own.splitlines()) > 8, "more than its usage"


def test_the_words_and_the_commands_are_the_same_ones():
    assert make_parser(COMMANDS).parse_args(["up", "server"]).does is COMMANDS["up"]
