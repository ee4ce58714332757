# SPDX-License-Identifier: ISC
"""prefixd's init script: what it makes of the section `hosts`, in both shells. prefixd has to take its words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefixd import options

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = ROOT / "sdk/openwrt/root/lib"
NEEDED = ["--plat-range=fddd:1338:1338::/48", "--clat=clat", "--target=/run/x", "--source=fddd::1"]
SCRIPT = """
set -e
. {stand_ins}/functions.sh
. {stand_ins}/functions/procd.sh
. {root}/files/prefixd/etc/init.d/prefixd
TELL_HOSTS={root}/files/prefixd/lib/464xlat/tell-hosts
setting() {{ case "$2" in pref64) echo fddd:1338:1338::/96 ;; mesh_mtu) echo 1374 ;; esac; }}
enabled() {{ :; }}
{then}
"""
ADD_HOSTS = """
config hosts hosts
{statements}
procd_open_service prefixd
procd_open_instance
procd_set_param command prefixd
add_hosts br-client
cat "$PROCD_INSTANCE/command"
"""


@pytest.fixture(params=[["sh"], ["busybox", "ash"]], ids=["sh", "ash"])
def run(request, tmp_path):
    """A function that runs the init script and commands behind it; return what it says on both channels."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/464xlat").symlink_to(ROOT / "files/464xlat/lib/464xlat")
    program = tmp_path / "micropython"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "IPKG_INSTROOT": str(tmp_path),
        "PROCD_RUN": f"{tmp_path}/procd",
        "XLAT464_HOSTS": f"{tmp_path}/hosts",
        "XLAT464_DNSMASQ": f"{tmp_path}/none",
    }

    def run(then):
        text = SCRIPT.format(stand_ins=STAND_INS, root=ROOT, then=then)
        done = subprocess.run(
            request.param, input=text, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout, done.stderr

    run.told = tmp_path / "hosts/.464xlat-options"
    return run


@pytest.fixture
def options_of(run):
    """A function that returns how prefixd understands what a section makes, and what is warned of."""

    def options_of(*statements):
        said, warned = run(ADD_HOSTS.format(statements="\n".join(statements)))
        return options.parse(NEEDED + said.splitlines()[1:]), warned

    return options_of


@pytest.mark.parametrize("word", ["1", "on", "true", "yes", "enabled", "0", "off", "false", "no", "disabled"])
def test_a_switch_is_what_uci_takes_for_one(options_of, word):
    found, warned = options_of(f"option announce {word}")
    expected = "on" if word in ("1", "on", "true", "yes", "enabled") else "off"
    assert (found["announce"], warned) == (expected, "")
    assert found["hosts_hook"].endswith("/tell-hosts br-client 1800")
    assert found["pref64"] is not None


@pytest.mark.parametrize("word", ["maybe", "ON", "2", "on;reboot"])
def test_with_another_word_hosts_are_told_nothing_and_prefixd_runs(options_of, word):
    found, warned = options_of(f"option announce '{word}'")
    assert found["pref64"] is None
    assert warned.count("\n") == 1
    assert f"'{word}'" in warned


@pytest.mark.parametrize(
    "seconds", ["299", "86401", "0300", "1e3", "-300", "300; reboot", "$(reboot)", "999999"]
)
def test_seconds_that_are_none_are_the_default(options_of, seconds):
    found, warned = options_of("option announce on", f"option v6only_wait_s '{seconds}'")
    assert found["hosts_hook"].endswith("/tell-hosts br-client 1800")
    assert warned.count("\n") == 1
    assert f"'{seconds}'" in warned


@pytest.mark.parametrize("seconds", ["300", "86400"])
def test_seconds_are_as_they_were_set(options_of, seconds):
    found, warned = options_of("option announce on", f"option v6only_wait_s {seconds}")
    assert found["hosts_hook"].endswith(f" {seconds}")
    assert not warned


def test_a_wrong_server_is_left_out(options_of):
    servers = ["2001:db8::53", "router.lan", "127.0.0.1", "9.9.9.9,node", "node", "1::/64", "", "9.9.9.9"]
    found, warned = options_of("option announce on", *(f"list dns '{server}'" for server in servers))
    assert [len(server) for server in found["dns6"]] == [16, 0, 4]
    assert warned.count("\n") == 5
    assert all(f"'{wrong}'" in warned for wrong in ("router.lan", "127.0.0.1", "9.9.9.9,node", "1::/64", ""))


def test_a_fourth_server_is_left_out(options_of):
    found, warned = options_of("option announce on", *(f"list dns 9.9.9.{number}" for number in range(1, 5)))
    assert len(found["dns6"]) == 3
    assert warned.count("\n") == 1
    assert "'9.9.9.4'" in warned


TOLD = """
action={action} device={device}
PREFIXD={folder}/prefixd
setting() {{ [ "$2" = pref64 ] || echo "$device"; }}
load_464xlat() {{ :; }}
{then}
"""


@pytest.mark.parametrize(
    ("action", "then", "is_withdrawn"),
    [
        ("stop", "stop_service", True),
        ("restart", "stop_service; service_stopped", False),
        ("shutdown", "stop_service; service_stopped", False),
        ("stop", "PKG_UPGRADE=1; stop_service", False),
        ("reload", "device=; start_service", True),  # the CLAT is down
        ("reload", "procd_open_service prefixd; start_service", True),  # announce is no more
    ],
)
def test_hosts_hear_that_it_is_over_where_nobody_goes_on(run, action, then, is_withdrawn):
    folder = run.told.parent
    folder.mkdir()
    run.told.write_text("tag:br-client,108,00:00:07:08\n")
    (folder / "prefixd").write_text(f'#!/bin/sh\necho "$@" >>{folder}/asked\n')
    (folder / "prefixd").chmod(0o755)
    run(TOLD.format(action=action, device="clat", folder=folder, then=then))
    asked = (folder / "asked").read_text() if (folder / "asked").exists() else ""
    assert asked == ("--withdraw\n" if is_withdrawn else "")


def test_a_stop_takes_back_what_dhcp_and_dns_say_whether_it_is_enabled_or_not(run):
    run.told.parent.mkdir()
    run.told.write_text("tag:br-client,108,00:00:07:08\n")
    assert run("service_stopped") == ("", "")
    assert run.told.read_text().strip() == ""
