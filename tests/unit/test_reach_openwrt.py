# SPDX-License-Identifier: ISC
"""The script that sets a router up: what it makes of UCI, run again, with less to do, and taken back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reach import keys, reader
from reach.plan_publish import make
from reach.render import TARGETS, Place

EXAMPLES = Path(__file__).resolve().parents[2] / "reach" / "examples"
# of the command: show, batch and commit, with a file of lines in the place of /etc/config
UCI = """\
#!PYTHON -IS
import os, sys
path = os.environ["UCI_FILE"]
words = [word for word in sys.argv[1:] if word != "-q"]
batch = sys.stdin.read().splitlines() if words[0] == "batch" else []
values = dict(line.rstrip("\\n").split("=", 1) for line in open(path))
if words[0] == "show":
    print("".join(f"{key}={value}\\n" for key, value in values.items() if key.startswith(words[1] + ".")), end="")
if words[0] == "batch":
    for line in batch:
        verb, _, rest = line.partition(" ")
        key, _, value = rest.partition("=")
        if verb == "delete":
            assert key in values, line
            values = {k: v for k, v in values.items() if k != key and not k.startswith(key + ".")}
        if verb == "set":
            assert key.count(".") == 1 or key.rpartition(".")[0] in values, line
            values[key] = value.strip("'")
        if verb == "add_list":
            assert key.rpartition(".")[0] in values, line
            values[key] = (values.get(key, "") + " " + value.strip("'")).strip()
    open(path, "w").write("".join(f"{key}={value}\\n" for key, value in values.items()))
"""
OTHERS = "network.lan=interface\nnetwork.lan.device=br-lan\nfirewall.lan=zone\n"


@pytest.fixture
def router(tmp_path):
    """A function that runs the script for an end of a description, and returns what UCI has then."""
    (tmp_path / "config").write_text(OTHERS)
    for name, text in (
        ("uci", UCI.replace("PYTHON", sys.executable)),
        ("reload_config", "#!/bin/sh\n"),
        ("reach-init", '#!/bin/sh\necho "$1"\n'),
        ("nft", f'#!/bin/sh\necho "$@" >>{tmp_path}/nft.said\n'),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "UCI_FILE": str(tmp_path / "config")}

    def run(toml, end, *words):
        whole = reader.read(toml)
        private = {each: keys.make() for each in whole.ends}
        known = keys.Keys(private, {each: keys.public_of(key) for each, key in private.items()})
        (tmp_path / f"{end}.key").write_text(private[end])
        files = {file.path: file.text for file in TARGETS["openwrt"](make(whole, end), Place(known))}
        script = files["/etc/reach/uci.sh"].replace("/etc/init.d/reach", str(tmp_path / "reach-init"))
        script = script.replace("/etc/reach/keys", str(tmp_path))
        done = subprocess.run(
            ["sh", "-c", script, "uci.sh", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return (tmp_path / "config").read_text(), done.stdout.split(), private[end]

    return run


@pytest.mark.parametrize(("example", "end"), [("uplink", "roof"), ("4in6", "attic"), ("bridge", "flat")])
def test_a_second_run_changes_nothing_and_a_removal_leaves_what_was_there(router, tmp_path, example, end):
    toml = (EXAMPLES / f"{example}.toml").read_text()
    config, said, _ = router(toml, end)
    assert said == ["enable", "restart"]
    assert "network.reach_" in config
    assert sections(router(toml, end)[0]) == sections(config)
    config, said, _ = router(toml, end, "remove")
    assert (config, said) == (OTHERS, ["stop", "disable"])
    assert (tmp_path / "nft.said").read_text() == "delete table inet reach\n", (
        "the firewall flushes only its own"
    )


def sections(config):
    return sorted(line for line in config.splitlines() if "_key=" not in line)


def test_what_is_in_the_file_no_more_goes(router):
    toml = (EXAMPLES / "uplink.toml").read_text()
    assert "firewall.reach_from_plat" in router(toml, "roof")[0]
    config, *_ = router(toml.replace('route = "uplink"', 'route = "nothing"'), "roof")
    assert "reach_from_plat" not in config
    assert "network.reach_route0" not in config


def test_netifd_gets_the_private_key_itself(router):
    config, _, private = router((EXAMPLES / "uplink.toml").read_text(), "roof")
    assert f"network.reach_wg0.private_key={private}\n" in config
