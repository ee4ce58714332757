# SPDX-License-Identifier: ISC
"""What is a device's name: one table, for each part that takes one from people."""

import subprocess
from pathlib import Path

import pytest

from l3roamd_py import cli_options, control
from prefixd import options
from reach import values
from runtime.command_line import UsageError
from xlat464.device import parse_device

CHECK = Path(__file__).resolve().parents[2] / "files/464xlat/lib/464xlat/check.sh"
NAMES = ["br-client", "eth0.1", "vx_eth0", "wlan0-1", "a", "x" * 15, ".x", "_"]
OTHERS = [
    *("", ".", "..", "x" * 16, "a b", "a:b", "a/b", "br+", "-j", "all", "default", "clat%d", "a\nb", "a\tb"),
    *('a"b', "a'b", "a;b", "$x", "a*", "a,b", "a@b", "\u00e4", "a\x00", "a\x7f"),
]
NEEDED = [
    *("daemon", "--clat", "--clat-range", "fddd:1337:1337::/48", "--plat-range", "fddd:1337:1338::/48"),
    *("--mac", "12:34:56:78:9a:bc", "--node-client-prefix", "fddd:1337:1339::/64"),
]
PREFIXD = (
    "--plat-range fddd:1337:1338::/48 --target /run/s.sock --source fddd:1337:1337:1234:5678:9abc:c000:1"
)


def on_the_command_line(option):
    def accept(name):
        try:
            cli_options.parse_daemon([*NEEDED[1:], f"{option}={name}"])
        except UsageError as error:
            raise ValueError(str(error)) from None

    return accept


def at_the_socket(name):
    try:
        control.parse(f"add_meshif {name}".encode())
    except control.CommandError as error:
        raise ValueError(str(error)) from None


def at_prefixd(name):
    try:
        options.parse([*PREFIXD.split(), "--clat", name])
    except options.UsageError as error:
        raise ValueError(str(error)) from None


def in_the_shell(name):
    if "\0" in name:
        raise ValueError("no word of a command line")
    script = f"die() {{ exit 1; }}\nas_option() {{ :; }}\n. {CHECK}\ndie() {{ exit 1; }}\nneed_name NAME"
    if subprocess.run(["sh", "-c", script], env={"NAME": name, "LC_ALL": "C"}, check=False).returncode:
        raise ValueError(name)


ACCEPTING = [parse_device, values.device, at_the_socket, at_prefixd, in_the_shell] + [
    on_the_command_line(f"--{kind}") for kind in ("client-device", "clat-device", "plat-device", "mesh")
]


@pytest.mark.parametrize("accept", ACCEPTING)
def test_a_name_is_taken(accept):
    for name in NAMES:
        accept(name)


@pytest.mark.parametrize("accept", ACCEPTING)
def test_what_another_program_would_take_for_something_else_is_refused(accept):
    for name in OTHERS:
        with pytest.raises(ValueError):  # noqa: PT011 with or without a word: each taker has its own
            accept(name)
