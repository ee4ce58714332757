# SPDX-License-Identifier: ISC
"""/etc/464xlat.conf: the same words as UCI's file, a sentence for each mistake, and what programs are told of it."""

import re
import shlex
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from server import cli, conf, machine, words
from server.keys import KEYS

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = (ROOT / "files/server/464xlat/etc/464xlat.conf").read_text()
UCI = (ROOT / "files/464xlat/etc/config/464xlat").read_text()
GATEWAY = """\
[node]
clat_range = fddd:1337:1337::/48
plat_range = fddd:1338:1338::/48
client_range = 10.46.0.0/16
mac = 02:00:00:00:00:0a
[plat]
enabled = 1
wan = eth0
[roaming]
node_client_prefix = fd46:4646:4646:2::/64
mesh = wg-mesh
mesh = vlan7
"""
BOTH = (
    GATEWAY
    + "[clat]\nenabled = yes\nclient_device = br0\n[prefixd]\nprobe_ipv4 = 9.9.9.9, 1.1.1.1\nmargin = 8\n"
)
CLAT = words.settings_of(
    "clat_range=fddd:1337:1337::/48 plat_range=fddd:1338:1338::/48 prefix=fddd:1337:1337:200:0:a::/96 "
    "device=clat target=/run/siit/control.sock pref64=fddd:1338:1338::/96"
)
PLAT = words.settings_of("prefix=fddd:1338:1338:200:0:a::/96 device=plat")


def right(text):
    found, mistakes = conf.read(text)
    assert mistakes == []
    return found


def test_the_words_are_ucis():
    uci, section = {}, ""
    for line in UCI.splitlines():
        if head := re.match(r"config \w+ '(\w+)'", line):
            section = head[1]
            uci[section] = {}
        elif option := re.match(r"\s#?(option|list) (\w+) '(.*)'", line):
            uci[section][option[2]] = option[1] == "list"
    del uci["hosts"]  # no server tells hosts anything: the DHCP servers that do are OpenWrt's
    assert {name: {option: key.is_list for option, key in keys.items()} for name, keys in KEYS.items()} == uci


def dump_of(prefix, metric=352):
    """What babeld's local interface says of one route."""
    return (
        "BABEL 1.0\nversion babeld-1.12.1\nhost gate\nmy-id 02:00:00:ff:fe:00:00:0a\nok\n"
        "add xroute fddd:1338:1338:200:0:a::/96-::/0 prefix fddd:1338:1338:200:0:a::/96 from ::/0 metric 0\n"
        f"add route 5581c3f2d0a0 prefix {prefix} from ::/0 installed no id 02:00:00:ff:fe:00:00:0b "
        f"metric {metric} refmetric 96 via fe80::b if wg-mesh\nok\n"
    )


def test_a_second_gateway_with_the_same_mac_is_told_of():
    gateway = right(GATEWAY)
    own = "fddd:1338:1338:200:0:a::/96"

    def twins(prefix, metric=352):
        return list(machine._twins(gateway, "02:00:00:00:00:0a", dump_of(prefix, metric)))

    (sentence,) = twins(own)
    assert own in sentence
    assert "two have the MAC 02:00:00:00:00:0a" in sentence
    assert twins("fddd:1338:1338:200:0:b::/96") == []
    assert twins("fddd:1337:1337:200:0:a::/96") == [], "we are no clatnode"
    assert twins(own, 65535) == [], "it has withdrawn it"
    assert list(machine._twins(gateway, "02:00:00:00:00:0a", "add route\nadd route x\n\n")) == []


def test_babeld_is_asked_for_its_routes(tmp_path):
    path, said = tmp_path / "babeld.sock", dump_of("fddd:1338:1338:200:0:a::/96")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(2)

    def answer():
        with listening.accept()[0] as asking:
            assert asking.recv(100) == b"dump\nquit\n"
            for begin in range(0, len(said), 50):
                asking.sendall(said[begin : begin + 50].encode())

    answering = threading.Thread(target=answer)
    answering.start()
    assert machine._dump(socket.AF_UNIX, str(path)) == said
    answering.join()
    listening.close()
    assert machine._dump(socket.AF_UNIX, str(path)) == "", "nobody is there"


def test_the_file_that_ships_has_each_option_with_its_default():
    shown, section = {}, ""
    for line in SHIPPED.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif option := re.match(r"#?(\w+) = ?(.*)", line):
            shown[section, option[1]] = option[2]
    assert set(shown) == {(section, option) for section, options in KEYS.items() for option in options}
    for (section, option), text in shown.items():
        if KEYS[section][option].default:
            assert text == KEYS[section][option].default, (section, option)
    assert right(SHIPPED).given.keys() == {("plat", "enabled")}
    assert right(
        re.sub("^#(?=[a-z_]+ = [^A-Z]*$)", "", SHIPPED, flags=re.MULTILINE)
    )  # examples are right, too


@pytest.mark.parametrize(
    ("change", "line", "sentence"),
    [
        (("[plat]", "[plats]"), 6, "'[plats]' begins no section, expected one of [node] [clat] [plat]"),
        (("[node]", ""), 2, "'clat_range = fddd:1337:1337::/48' is in no section"),
        (("wan =", "wann ="), 8, "'wann' is no option of [plat], expected one of enabled"),
        (("wan = eth0", "wan eth0"), 8, "'wan eth0' is no option, expected NAME = VALUE"),
        (("enabled = 1", "enabled = perhaps"), 7, "plat.enabled: 'perhaps' is neither on nor off"),
        (("1337::/48", "1337::/47"), 2, "node.clat_range: "),
        (("wan = eth0", "wan = eth0;reboot"), 8, "plat.wan: 'eth0;reboot' is no device name"),
        (("wan = eth0", "wan = plat"), 8, "plat.wan: it names the PLAT's own device"),
        (("wan = eth0", ""), 0, "plat.wan is missing, expected one like wan = eth0"),
        (("client_range = 10.46.0.0/16", "client_range = 192.168.0.0/16"), 0, "plat.pool: the pool"),
        (("1338:1338::", "1337:1337::"), 3, "node.plat_range: clat_range and plat_range are both"),
        (
            ("wan = eth0", "wan = eth0\npool = 10.9.0.0/30\npool = 10.8.0.0/30"),
            10,
            "plat.pool is given twice, first in line 9",
        ),
        (("wan = eth0", "wan = eth0\nengine = jool"), 9, "plat.engine: jool needs a network namespace"),
        (
            ("wan = eth0", "wan = eth0\nlimit_up_kbit = 5"),
            9,
            "plat.limit_up_kbit: '5' is no number that fits, expected 64 to 10000000 or 0",
        ),
        (("wan = eth0", "wan = eth0\nports = 9-1"), 9, "plat.ports: '9-1' is no range of ports"),
        (("wan = eth0", "wan = eth0\nuplink = reach"), 8, "plat.wan: there is one beside uplink = reach"),
        (("mesh = wg-mesh\nmesh = vlan7\n", ""), 0, "roaming.mesh is missing"),
        (
            ("mac = 02", "pref64 = fddd:1337:1337::/96\nmac = 02"),
            5,
            "node.pref64: 'fddd:1337:1337::/96' lies in clat_range",
        ),
        (("mac = 02", "mac = 03"), 5, "node.mac: 03:00:00:00:00:0a is a multicast MAC"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(change, line, sentence):
    assert change[0] in GATEWAY
    _, mistakes = conf.read(GATEWAY.replace(*change, 1))
    assert [mistake.line for mistake in mistakes] == [line], mistakes
    assert mistakes[0].sentence.startswith(sentence)
    assert "\n" not in mistakes[0].sentence


def test_half_of_a_file_is_none(tmp_path, monkeypatch, capsys):
    file = tmp_path / "464xlat.conf"
    monkeypatch.setattr(cli, "FILE", file)
    for content in (b"", GATEWAY.encode()[:30], b"\xff\n", b"a" * 100_000, GATEWAY.encode() + b"[ro"):
        file.write_bytes(content)
        is_right = content == b""  # which is no mistake, and no role
        assert cli.main(["shell"]) == (0 if is_right else 2)
        said = capsys.readouterr()
        assert bool(said.out) == is_right
        assert said.err.count("\n") == (0 if is_right else 1)
    file.unlink()
    assert cli.main(["shell"]) == 2


def test_check_names_every_mistake(tmp_path, capsys):
    file = tmp_path / "x.conf"
    file.write_text(GATEWAY.replace("eth0", "eth 0/").replace("[roaming]", "[roam]"))
    assert cli.main(["check", str(file)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].partition(": ")[0] for line in said][:2] == [
        f"{file}, line 8",
        f"{file}, line 9",
    ]


def test_check_of_a_right_file_says_what_the_machine_lacks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(machine, "ASK_S", 0.1)
    file = tmp_path / "x.conf"
    file.write_text(GATEWAY.replace("eth0", "nosuch0"))
    assert cli.main(["check", str(file)]) == 1
    said = capsys.readouterr().err
    assert "plat.wan: there is no device nosuch0 now, expected one of" in said
    file.write_text("")
    assert cli.main(["check", str(file)]) == 1
    assert capsys.readouterr().err == "464xlat: no role is on: expected enabled = 1 in [plat], or in [clat]\n"


def test_the_shell_gets_every_option_and_nothing_that_it_would_run():
    lines = words.variables(right(BOTH))
    assert len(lines) == sum(map(len, KEYS.values()))
    assert "CONFIG_roaming_mesh='wg-mesh vlan7'" in lines
    assert "CONFIG_plat_ports=1024-65535" in lines
    assert all(len(shlex.split(line)) == 1 for line in lines)


@pytest.mark.parametrize(
    ("daemon", "clat", "plat", "line"),
    [
        ("siit", {}, {}, "/usr/sbin/siit daemon"),
        ("prefixd", {}, PLAT, ""),
        ("l3roamd-py", {}, {}, ""),
        (
            "prefixd",
            CLAT,
            PLAT,
            "/usr/sbin/prefixd --plat-range fddd:1338:1338::/48 --clat clat --target /run/siit/control.sock "
            "--source fddd:1337:1337:200:0:a:c000:1 --hook '464xlat clat-route' "
            "--own-plat fddd:1338:1338:200:0:a::/96 --margin 8 --probe-ipv4 9.9.9.9,1.1.1.1 "
            "--l3roamd /run/l3roamd.sock",
        ),
        (
            "l3roamd-py",
            {},
            PLAT,
            "/usr/sbin/l3roamd_py daemon --socket /run/l3roamd.sock --state /run/l3roamd.state "
            "--mac 02:00:00:00:00:0a "
            "--clat-range fddd:1337:1337::/48 --plat-range fddd:1338:1338::/48 "
            "--node-client-prefix fd46:4646:4646:2::/64 --plat --plat-device plat --client-device br0 "
            "--mesh wg-mesh --mesh vlan7 --lease-file /var/lib/misc/dnsmasq.leases",
        ),
    ],
)
def test_a_daemons_command_line(daemon, clat, plat, line):
    assert shlex.join(words.command(daemon, right(BOTH), "02:00:00:00:00:0a", clat, plat)) == line


def test_daemons_take_their_command_lines():
    from l3roamd_py import cli_options
    from prefixd import options

    roaming = (
        "[roaming]\nprefix = 2001:db8::/64\nsend_on = on\nmax_lease_s = 600\nroam_auth = off\nrules = nft\n"
    )
    whole = right(f"{BOTH}hold_s = 3\n{roaming}prepare = fddd:1337:1337:200:0:b:c000:1\n")
    prefixd = words.command("prefixd", whole, "02:00:00:00:00:0a", CLAT, PLAT)
    assert options.parse(prefixd[1:])["hold_s"] == 3
    roaming = words.command("l3roamd-py", whole, "02:00:00:00:00:0a", CLAT, PLAT)
    settings = cli_options.parse_daemon(roaming[2:])
    assert (settings.rules, len(settings.options.prefixes)) == ("nft", 1)


def test_what_babeld_is_told():
    assert words.babeld_lines(right(SHIPPED), False) == []
    lines = words.babeld_lines(right(GATEWAY), False)
    assert lines == [
        "local-port 33123",
        "redistribute local ip fd46:4646:4646:2::/64 eq 128 allow",
        "redistribute ip fddd:1337:1337::/48 eq 96 allow",
        "redistribute ip fddd:1338:1338::/48 eq 96 allow",
        "redistribute local if clat deny",
        "redistribute local if eth0 deny",
        "redistribute local if plat deny",
        "redistribute local ip 10.46.0.0/16 deny",
    ]
    assert words.babeld_lines(right(GATEWAY), True) == lines[1:]


def test_what_bird_includes():
    assert words.bird_lines(right(GATEWAY), "02:00:00:00:00:0a") == [
        "protocol static xlat464 {",
        "\tipv6;",
        '\troute fddd:1338:1338:200:0:a::/96 via "plat";',
        "}",
    ]


def test_the_mac_is_chosen_once(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "KEPT_MAC", tmp_path / "lib/mac")
    monkeypatch.setattr(machine, "DEVICES", tmp_path / "net")
    unset = right(GATEWAY.replace("mac = 02:00:00:00:00:0a\n", ""))
    (tmp_path / "net").mkdir()
    assert machine.find_mac(unset) == ""
    for name, mac in (
        ("lo", "00:00:00:00:00:00"),
        ("eth0", "02:00:00:00:00:07"),
        ("a0", "02:00:00:00:00:08"),
    ):
        (tmp_path / "net" / name).mkdir()
        (tmp_path / "net" / name / "address").write_text(f"{mac}\n")
    assert machine.find_mac(unset) == "02:00:00:00:00:07"
    (tmp_path / "net/eth0/address").write_text("02:00:00:00:00:09\n")
    assert machine.find_mac(unset) == "02:00:00:00:00:07"
    assert machine.find_mac(right(GATEWAY)) == "02:00:00:00:00:0a"


def of_openwrt(daemon, text, clat, plat):
    """Return a daemon's command line of a router's init script, with the same configuration and the same roles up."""
    settings = "".join(
        f"{role}_{key}={shlex.quote(value)}\n"
        for role, values in (("clat", clat), ("plat", plat))
        for key, value in values.items()
    )
    given = [line for line in words.variables(right(text)) if not line.endswith("=''")]
    script = f"""
XLAT={ROOT}/files/464xlat
IPKG_INSTROOT=$XLAT
. {ROOT}/files/{daemon}/etc/init.d/{daemon}
. {ROOT}/files/server/464xlat/usr/lib/464xlat/uci/functions.sh
{chr(10).join(given)}
{settings}
load_464xlat() {{ :; }}
has_role() {{ [ -n "$(setting "$1" device)" ]; }}
setting() {{ eval "printf %s \\"\\$$1_$2\\""; }}
lease_file() {{ echo /tmp/dhcp.leases; }}
micropython() {{ echo fddd:1337:1337:200:0:a:c000:1; }}
procd_open_instance() {{ :; }}
procd_close_instance() {{ :; }}
procd_set_param() {{ [ "$1" != command ] || procd_append_param "$@"; }}
procd_append_param() {{ shift; printf '%s\\n' "$@"; }}
start_service
"""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("clat", "plat"), [(CLAT, PLAT), (CLAT, {}), ({}, PLAT), (CLAT | {"pref64": ""}, PLAT)]
)
def test_the_roaming_daemon_has_a_routers_options(clat, plat):
    roaming = "[roaming]\nprefix = 2001:db8::/64\nsend_on = on\nmax_lease_s = 600\nroam_auth = off\n"
    roaming += "rules = nft\nprepare = fddd:1337:1337:200:0:b:c000:1\n[node]\nmac = 02:00:00:00:00:0a\n"
    text = BOTH.replace("mac = 02:00:00:00:00:0a\n", "") + roaming
    ours, routers = (
        [word for word in line if word.startswith("--")]
        for line in (
            words.command("l3roamd-py", right(text), "02:00:00:00:00:0a", clat, plat),
            of_openwrt("l3roamd-py", text, clat, plat),
        )
    )
    assert ("--pref64" in ours) == bool(clat and clat["pref64"])
    # a router's mesh devices are told at the socket
    assert sorted(set(ours) - {"--mesh"}) == sorted(set(routers))


def test_the_shells_functions_are_what_roles_ask_for(tmp_path):
    """The sh that stands for OpenWrt's functions.sh, with the file's values."""
    program = tmp_path / "conf"
    lines = "\n".join(words.variables(right(BOTH)))
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    program.chmod(0o755)
    functions = ROOT / "files/server/464xlat/usr/lib/464xlat/uci/functions.sh"
    script = f"""
. {functions}
CONF={program}
. {ROOT}/files/464xlat/lib/464xlat/config.sh
load_464xlat || exit 1
say() {{ printf '%s.' "$1"; }}
config_get a plat wan; config_get b node mesh_mtu 9; config_get c plat nosuch other
config_get_bool d clat enabled 0; config_get_bool e nosuch enabled 0
echo "$a $b $c $d $e"
config_list_foreach roaming mesh say; echo
printf '#!/bin/sh\\necho "464xlat: line 3: wrong: all stays as it is" >&2; exit 2\\n' >{program}
load_464xlat; echo $?
"""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["eth0 1280 other 1 0", "wg-mesh.vlan7.", "1"]
    assert done.stderr == "464xlat: line 3: wrong: all stays as it is\n"
