# SPDX-License-Identifier: ISC
"""What is rendered of a plan is what the real tools take."""

import pytest
from test_reach_plan import ENDS, EXAMPLES, NO_KEYS, ROOT, place, plan, run, tool

from reach.plan import Wg
from reach.render import TARGETS, RenderError, wgquick


def written(target, example, end, folder):
    """The rendered files below a folder, and their texts by path."""
    files = TARGETS[target](plan(example, end), place(EXAMPLES[example]))
    for file in files:
        path = folder / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
        path.chmod(file.mode)
    return {file.path: file.text for file in files}


WITH_WIREGUARD = [
    (name, end) for name, end in ENDS if any(isinstance(d, Wg) for d in plan(name, end).devices)
]


@pytest.mark.parametrize(("example", "end"), WITH_WIREGUARD)
def test_wg_quick_strips_what_is_rendered(example, end, tmp_path):
    for path in written("wg-quick", example, end, tmp_path):
        if path.startswith("/etc/wireguard/"):
            stripped = run(tool("wg-quick"), "strip", str(tmp_path / path.lstrip("/")))
            assert "[Peer]" in stripped
            assert "PostUp" not in stripped


def test_a_file_for_an_app_has_the_key_and_no_commands_and_another_neither(tmp_path):
    known = place(EXAMPLES["relay-wireguard"])
    private = known.keys.private["phone"]
    assert private not in str(TARGETS["wg-quick"](plan("relay-wireguard", "phone"), known))
    (file,) = wgquick.render_for_app(plan("relay-wireguard", "phone"), known)
    assert f"PrivateKey = {private}" in file.text
    assert not [word for word in ("PostUp", "PreDown", "Table") if word in file.text]


def test_the_unit_that_runs_reach_at_boot_is_one_that_systemd_takes(tmp_path):
    text = (ROOT / "reach" / "reach@.service").read_text()
    unit = tmp_path / "reach@server.service"
    unit.write_text("".join(stub(line) for line in text.splitlines(keepends=True)))
    said = run(tool("systemd-analyze"), "verify", "--man=no", str(unit))
    assert unit.name not in said, said


def test_a_missing_key_is_said_with_the_way_to_get_it():
    with pytest.raises(RenderError, match="public key of server is missing: `reach keys server` there"):
        TARGETS["wg-quick"](plan("exit", "macbook"), NO_KEYS)


@pytest.mark.parametrize(("example", "end"), ENDS)
def test_ifup_reads_what_is_rendered(example, end, tmp_path):
    for path, text in written("debian", example, end, tmp_path).items():
        if not path.startswith("/etc/network/"):
            continue
        interfaces = str(tmp_path / path.lstrip("/"))
        for name in (line.split()[1] for line in text.splitlines() if line.startswith("auto ")):
            said = run(tool("ifup"), "--no-act", "-v", "-i", interfaces, "--state-dir", str(tmp_path), name)
            for command in (
                line.split(" ", 1)[1]
                for line in text.split(f"iface {name} ")[1].splitlines()
                if "pre-up" in line
            ):
                assert command in said or name in said


@pytest.mark.parametrize(("example", "end"), ENDS)
def test_systemd_takes_the_units(example, end, tmp_path):
    for path in written("systemd", example, end, tmp_path):
        if path.endswith(".service"):
            unit = tmp_path / path.lstrip("/")
            # it looks for the programs too, and not all of them are here
            unit.write_text("".join(stub(line) for line in unit.read_text().splitlines(keepends=True)))
            said = run(tool("systemd-analyze"), "verify", "--man=no", str(unit))
            assert unit.name not in said, said


@pytest.mark.parametrize(
    ("target", "links"), [("debian", "networking.service"), ("systemd", "reach.service")]
)
def test_what_stays_running_waits_for_what_sets_up_its_links(target, links, tmp_path):
    text = written(target, "bridge", "server", tmp_path)["/etc/systemd/system/reach-radvd.service"]
    assert f"After={links}\nWants={links}\n" in text


def stub(line):
    key, _, command = line.partition("=")
    if key not in ("ExecStart", "ExecReload", "ExecStop", "ExecStopPost") or command.lstrip("-").startswith(
        "/bin/sh"
    ):
        return line
    return f"{key}=/bin/true {command.lstrip('-').partition(' ')[2]}"


@pytest.mark.parametrize(("example", "end"), ENDS)
@pytest.mark.parametrize("target", ["entware", "openwrt", "desktop"])
def test_rendered_scripts_are_clean_sh(target, example, end, tmp_path):
    for path, text in written(target, example, end, tmp_path).items():
        if text.startswith("#!/bin/sh"):
            run(tool("shellcheck"), "-s", "sh", str(tmp_path / path.lstrip("/")))


@pytest.mark.parametrize(("example", "end"), ENDS)
def test_uci_sections_have_names_and_their_sections_come_first(example, end):
    files = {
        file.path: file.text for file in TARGETS["openwrt"](plan(example, end), place(EXAMPLES[example]))
    }
    batch = files["/etc/reach/uci.sh"].split("<<EOF\n")[1].split("EOF\n")[0].split("\n")
    made = set()
    for line in batch:
        words = line.split(" ", 1)[1].split("=")[0].split(".") if " " in line else []
        if line.startswith("set ") and len(words) == 2:
            made.add(tuple(words))
            assert words[1].replace("_", "").isalnum()
        elif line.startswith(("set ", "add_list ")):
            assert tuple(words[:2]) in made, line
        elif line:
            assert line.split()[0] in ("commit",), line


@pytest.mark.parametrize("target", TARGETS)
def test_ipv4_in_ipv6_is_made_without_the_destination_option(target):
    if target in ("wg-quick", "desktop"):
        pytest.skip("makes no tunnel")
    text = "".join(file.text for file in TARGETS[target](plan("4in6", "server"), NO_KEYS))
    assert (
        "ip -6 tunnel add wrap1 mode ipip6 local 2001:db8:6ef9:1:203:0:113:144"
        " remote 2001:db8:fdd2:2:203:0:113:144 encaplimit none" in text
    )


def test_the_desktop_switch_asks_zenity_and_shows_the_state(tmp_path):
    """With stand-ins for zenity and sudo: switched on, the user's own starter has the other icon."""
    files = written("desktop", "relay-wireguard", "laptop", tmp_path)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, text in (
        ("zenity", "echo secret"),
        ("sudo", f'cat >{tmp_path}/password; echo "$@" >{tmp_path}/asked'),
    ):
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_ / name).chmod(0o755)
    script = tmp_path / "toggle"
    starter = "/usr/local/share/applications/reach.desktop"
    script.write_text(files["/usr/local/bin/reach-toggle"].replace(starter, f"{tmp_path}{starter}"))
    run("sh", str(script), env={"PATH": f"{bin_}:/usr/bin:/bin", "HOME": str(tmp_path / "home")})
    assert (tmp_path / "password").read_text() == "secret\n"
    assert "--file /etc/reach/reach.toml up laptop" in (tmp_path / "asked").read_text()
    own = (tmp_path / "home" / ".local/share/applications/reach.desktop").read_text()
    assert "Icon=network-vpn\n" in own


def test_a_member_over_gue_keeps_its_nat_from_forgetting_it(tmp_path):
    files = written("openwrt", "bridge", "flat", tmp_path)
    line = next(line for line in files["/etc/init.d/reach"].splitlines() if "ping" in line)
    assert line == "\trun sh -c 'while :; do ping -q -c 1 -W 2 192.168.0.1 >/dev/null 2>&1; sleep 20; done'"
    units = written("systemd", "bridge", "flat", tmp_path)
    assert "ExecStart=sh -c 'while" in units["/etc/systemd/system/reach-keepalive-taps.service"]
    assert not plan("bridge", "office").services, "WireGuard does it there"
