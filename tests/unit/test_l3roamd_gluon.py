# SPDX-License-Identifier: ISC
"""/etc/init.d/gluon-l3roamd starts ours: what Gluon's own script says on a node is a command line that it takes.

With GLUON_TREE=/path/to/gluon in the environment it is that script, of which nothing is changed but that it sets no
sysctl here; else what Gluon v2025.1's says.
"""

import subprocess
from pathlib import Path

import pytest
from gluon_node import GLUON, LUA, NEEDS_GLUON, NEEDS_LUA

from l3roamd_py import c_options
from l3roamd_py.cli_options import as_daemon, make_settings
from xlat464.address import parse_ipv6

MODULES = {  # what it asks of Gluon's Lua: the site's values
    "gluon/site.lua": """return {
        prefix4 = function() return %s end,
        prefix6 = function() return 'fd46:4646:4646::/64' end,
    }""",
    "gluon/l3.lua": "return { node_client_prefix6 = function() return 'fd12:3456:789a:bcde::/64' end }",
}
# what it asks of OpenWrt, and procd.sh: the command is noted, a word a line
STANDINS = """
ifstatus() { echo "{ up: $LOCAL_NODE_UP }"; }
jsonfilter() { grep -q true && echo true; }
uci() { echo fd46:4646:4646:1::7/128; }
lua() { "$LUA" "$@"; }
procd_open_instance() { :; }
procd_close_instance() { :; }
procd_set_param() {
	[ "$1" = command ] || return 0
	shift
	printf '%s\\n' "$@"
}
"""
SAID = [
    "/usr/sbin/l3roamd",
    "-s",
    "/var/run/l3roamd.sock",
    "-p",
    "10.46.0.0/16",
    "-p",
    "fd46:4646:4646::/64",
    "-m",
    "mesh-vpn",
    "-m",
    "mesh0",
    "-i",
    "local-node",
    "-t",
    "254",
    "-a",
    "fd46:4646:4646:1::7",
    "-b",
    "br-client",
]
QUOTED = " -P fd12:3456:789a:bcde::/64"  # a word, with its space


def start(folder: Path, has_ipv4: bool, is_up: bool) -> list[str]:
    """Return the command line that procd is told."""
    prefix4 = "'10.46.0.0/16'" if has_ipv4 else "nil"
    for name, text in MODULES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace("%s", prefix4))
    script = (Path(GLUON) / "package/gluon-l3roamd/files/etc/init.d/gluon-l3roamd").read_text()
    program = folder / "gluon-list-mesh-interfaces"
    program.write_text("#!/bin/sh\necho mesh-vpn\necho mesh0\n")
    program.chmod(0o755)
    (folder / "script").write_text(script.replace("/sbin/sysctl ", "true "))
    environment = {
        "LUA": LUA,
        "LUA_PATH": f"{folder}/?.lua",
        "LOCAL_NODE_UP": str(is_up).lower(),
        "PATH": f"{folder}:/usr/bin:/bin",
    }
    run = f"{STANDINS}\n. {folder}/script\nstart_service"
    done = subprocess.run(["sh", "-c", run], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def settings_of(words):
    meant, ignored = c_options.parse(words[1:])
    return make_settings(as_daemon(meant)), ignored


def check(settings):
    options = settings.options
    assert options.own == options.address == parse_ipv6("fd46:4646:4646:1::7")
    assert (options.clat, options.plat) == (None, None)
    assert options.prefixes == ((parse_ipv6("fd46:4646:4646::"), 64),)
    assert options.node_client_prefix == parse_ipv6("fd12:3456:789a:bcde::"), "also from within quotes"
    assert settings.mesh_devices == ["mesh-vpn", "mesh0"]
    assert (settings.socket, settings.table) == ("/var/run/l3roamd.sock", 254)


@NEEDS_GLUON
@NEEDS_LUA
@pytest.mark.parametrize("has_ipv4", [True, False])
@pytest.mark.parametrize("is_up", [True, False])
def test_gluons_own_script_starts_it(tmp_path, has_ipv4, is_up):
    words = start(tmp_path, has_ipv4, is_up)
    settings, ignored = settings_of(words)
    check(settings)
    assert settings.client_device == ("local-node" if is_up else "br-client")
    assert len(ignored) == has_ipv4
    if has_ipv4 and is_up:
        assert words == [*SAID, QUOTED], "what is tried without Gluon is what Gluon says"


def test_what_gluons_script_says_starts_it():
    settings, (sentence,) = settings_of([*SAID, QUOTED])
    check(settings)
    assert settings.client_device == "local-node"
    assert sentence.startswith("-p 10.46.0.0/16 is ignored: ")
