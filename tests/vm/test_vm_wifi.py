# SPDX-License-Identifier: ISC
"""A client roams by real Wi-Fi between two access points, and l3roamd_py hears of it from nl80211.

    phone (wpa_supplicant) ~ ~ a, b (hostapd, l3roamd_py) - c (platnode) - internet

mac80211_hwsim's radios are moved into the lab's machines; all of them hear each other. Nothing stands in for a radio.
"""

import json
import os
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
from conftest import load, wait_until

from sdk.lab import ECHO
from sdk.lab.machine import REPOSITORY
from sdk.walk import Walker

MESH = """
[lab]
hello_interval_ms = 2000
[nodes.a]
role = "clat"
[nodes.b]
role = "clat"
[nodes.c]
role = "plat"
[[links]]
between = ["a", "b"]
[[links]]
between = ["b", "c"]
[[links]]
between = ["a", "c"]
"""
POINTS = {"a": (1, 2412), "b": (6, 2437)}  # channel and MHz of each access point
PHONE = "phone"
# what hwsim, which knows no distance, takes from an access point's 20 dBm on the way; from -45 dBm the phone looks for
# another, and below -67 dBm, 25 over the noise, it takes it
NEAR_DB, FAR_DB = -50, -100
SEARCH_DBM = -45
FAST = "FT authentication already completed"  # what hostapd says where no handshake is needed after 802.11r's frames
# the key management asked for, more for hostapd, and what wpa_supplicant calls it
MOBILITY = {
    "plain": ("WPA-PSK", "", "WPA2-PSK"),
    "802.11r": ("FT-PSK", "mobility_domain=a1b2\nft_over_ds=0\nft_psk_generate_local=1\n", "FT-PSK"),
}
# what a node's kernel tells of a client, with the time: nl80211's stations and the bridge's entries
LISTENER = """
    import json, select, sys, time
    sys.path.insert(0, {repository!r})
    from l3roamd_py.finding import DEL_STATION, GENERIC, NEIGHBOURS, NEW_STATION, SOL_NETLINK, ADD_MEMBERSHIP
    from l3roamd_py.finding import AF_BRIDGE, _group_of, listen, messages
    stations, bridge = listen(GENERIC), listen(0)
    stations.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, _group_of("nl80211", "mlme"))
    bridge.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, NEIGHBOURS)
    mac = bytes.fromhex({mac!r}.replace(":", ""))
    print("ready", flush=True)
    while True:
        for each in select.select([stations, bridge], [], [])[0]:
            for kind, _, whole in messages(each.recv(1 << 16)):
                if mac in bytes(whole):
                    is_wifi = each is stations
                    told = {{NEW_STATION: "station", DEL_STATION: "no station"}}.get(whole[16], "other")
                    learned = {{28: "entry", 29: "no entry"}}.get(kind, "other")
                    word = told if is_wifi else learned if whole[16] == AF_BRIDGE else "neighbour"
                    print(json.dumps([time.monotonic(), word]), flush=True)
"""


@pytest.fixture(scope="module")
def radios():
    load("mac80211_hwsim radios=3")
    mount = ["mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug"]
    subprocess.run(mount, check=False, capture_output=True)
    wait_until(lambda: len(phys()) == 3, what="three radios")
    return phys()


def phys():
    """The radios of this namespace by the names of their devices."""
    found, phy = {}, ""
    for line in subprocess.run(["iw", "dev"], capture_output=True, text=True, check=True).stdout.splitlines():
        words = line.split()
        if line.startswith("phy#"):
            phy = line.replace("#", "")
        elif words[:1] == ["Interface"]:
            found[words[1]] = phy
    return found


@pytest.fixture(scope="module")
def mesh(radios, lab_modules, lab_of):
    lab = lab_of(MESH, ready=False)
    lab.wait_ready(300)
    lab.running.boot(PHONE)
    lab.devices = dict(zip(("a", "b", PHONE), sorted(radios), strict=True))
    lab.phys = {machine: radios[device] for machine, device in lab.devices.items()}
    for machine, device in lab.devices.items():
        move = ["iw", "phy", radios[device], "set", "netns", str(lab.running.pids[machine])]
        subprocess.run(move, check=True, capture_output=True)
        lab.script(machine, [f"ip link set {device} name wlan0"])
    mac = lab.exec(PHONE, ["cat", "/sys/class/net/wlan0/address"]).stdout.strip()
    lab.mac = mac
    lab.script(PHONE, ["sysctl -qw net.ipv6.conf.wlan0.disable_ipv6=1"])
    lab.bssids = {
        node: lab.exec(node, ["cat", "/sys/class/net/wlan0/address"]).stdout.strip() for node in POINTS
    }
    return lab


def hostapd_conf(node, kind):
    channel, _ = POINTS[node]
    key_mgmt, more, _ = MOBILITY[kind]
    text = f"""\
        interface=wlan0
        bridge=br-client
        ctrl_interface=/run/hostapd
        ssid=mesh
        hw_mode=g
        channel={channel}
        wpa=2
        wpa_key_mgmt={key_mgmt}
        rsn_pairwise=CCMP
        wpa_passphrase=freifunk464
        nas_identifier=node-{node}
        logger_stdout=-1
        logger_stdout_level=0
        """
    return textwrap.dedent(text) + more


def supplicant_conf(kind):
    frequencies = " ".join(str(mhz) for _, mhz in POINTS.values())
    return (
        'ctrl_interface=/run/wpa\nnetwork={\nssid="mesh"\npsk="freifunk464"\n'
        f'bgscan="simple:2:{SEARCH_DBM}:3600"\n'
        f"key_mgmt={MOBILITY[kind][0]}\nscan_freq={frequencies}\nfreq_list={frequencies}\n}}\n"
    )


@pytest.fixture(params=list(MOBILITY))
def wifi(mesh, request):
    """Access points on a and b, and the phone associated with a, with a lease."""
    for node in POINTS:
        mesh.exec(node, ["tee", "/run/hostapd.conf"], stdin=hostapd_conf(node, request.param))
        mesh.running.daemon(node, "hostapd", ["hostapd", "/run/hostapd.conf"])
    for node in POINTS:
        wait_until(lambda n=node: "AP-ENABLED" in log(mesh, n, "hostapd"), what=f"an access point on {node}")
    mesh.exec(PHONE, ["tee", "/run/wpa.conf"], stdin=supplicant_conf(request.param))
    mesh.running.daemon(PHONE, "wpa", ["wpa_supplicant", "-i", "wlan0", "-c", "/run/wpa.conf"])
    wait_until(lambda: wpa(mesh).get("wpa_state") == "COMPLETED", what="an association")
    if not address(mesh):
        script = str(REPOSITORY / "sdk/lab/udhcpc.sh")
        options = ["-f", "-i", "wlan0", "-s", script, "-t", "60", "-T", "3", "-A", "1"]
        mesh.running.daemon(PHONE, "udhcpc", ["busybox", "udhcpc", *options])
    wait_until(lambda: address(mesh), what="a lease")
    if place(mesh) != "a":
        roam(mesh, "a")
    wait_until(lambda: serving(mesh, "a"), what="the phone being served at a")
    wait_until(lambda: mesh.is_answered(PHONE), what="an answer of the internet")
    mesh.kind = request.param
    yield mesh
    for node in POINTS:
        put(mesh, node, NEAR_DB)
    for machine, program in ((PHONE, "wpa"), ("a", "hostapd"), ("b", "hostapd")):
        mesh.running.stop(machine, program)


def log(lab, machine, program):
    return lab.exec(machine, ["cat", f"/run/log/{program}.log"], check=False).stdout


def cli(lab, *words):
    return lab.exec(PHONE, ["wpa_cli", "-p", "/run/wpa", "-i", "wlan0", *words], check=False).stdout


def wpa(lab):
    """What wpa_supplicant says of itself."""
    pairs = (line.partition("=") for line in cli(lab, "status").splitlines())
    return {key: value for key, _, value in pairs}


def address(lab):
    shown = json.loads(lab.exec(PHONE, ["ip", "-j", "-4", "addr", "show", "dev", "wlan0"]).stdout or "[]")
    return next((each["local"] for device in shown for each in device.get("addr_info", ())), "")


def place(lab):
    return next((node for node, bssid in lab.bssids.items() if bssid == wpa(lab).get("bssid")), None)


def serving(lab, node):
    """What the roaming daemon on a node says of the phone, None unless it serves it."""
    clients = lab.roaming_status(node).get("clients", [])
    return next((each for each in clients if each["mac"] == lab.mac and each["state"] == "served"), None)


def roam(lab, node):
    """Walk the phone to a node by command, and return when it was asked to (monotonic, s)."""
    _, mhz = POINTS[node]

    def is_heard():
        cli(lab, "scan", f"freq={mhz}")
        return lab.bssids[node] in cli(lab, "scan_results")

    wait_until(is_heard, what=f"hearing {node}")
    begun = time.monotonic()
    assert "OK" in cli(lab, "roam", lab.bssids[node])
    wait_until(
        lambda: place(lab) == node and wpa(lab).get("wpa_state") == "COMPLETED", what=f"being at {node}"
    )
    return begun


def go_far_from(lab, node):
    """Walk the phone away from a node, and return when what it hears of it became weak (monotonic, s)."""
    begun = time.monotonic()
    for each in POINTS:
        put(lab, each, FAR_DB if each == node else NEAR_DB)
    wait_until(lambda: place(lab) not in (node, None), what=f"leaving {node} for another")
    wait_until(lambda: wpa(lab).get("wpa_state") == "COMPLETED", what="being associated there")
    return begun


def put(lab, node, loss_db):
    """Put an access point near the phone or far from it."""
    file = Path(f"/sys/kernel/debug/ieee80211/{lab.phys[node]}/hwsim/rx_rssi")
    file.write_text(str(loss_db % 2**64))  # the kernel reads the number without a sign


def keep(lab, name, *found):
    """Leave what was seen outside of the machine."""
    Path(os.environ.get("OUT", "/tmp"), f"wifi-{lab.kind}-{name}.json").write_text(
        json.dumps([*found, story(lab)], indent=1)
    )


class Heard:
    """What a node's kernel tells of the phone, while it lasts."""

    def __init__(self, lab, node):
        code = textwrap.dedent(LISTENER).format(repository=str(REPOSITORY), mac=lab.mac)
        self.process = lab.popen(node, ["python", "-c", code], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"

    def end(self):
        """End it, and return pairs of time and word."""
        self.process.kill()
        return [json.loads(line) for line in self.process.communicate()[0].splitlines()]


def story(lab):
    parts = [
        f"{node} {program}\n{log(lab, node, program)[-1500:]}"
        for node in POINTS
        for program in ("hostapd", "l3roamd")
    ]
    counted = {node: lab.roaming_status(node).get("counters") for node in (*POINTS, "c")}
    return "\n".join([*parts, log(lab, PHONE, "wpa")[-1500:], json.dumps(counted)])


def test_a_connection_lives_while_the_phone_roams(wifi):
    """What is open goes on, to b by command and back by signal; the lease stays; 802.11r is used where asked for."""
    lease, heard = address(wifi), Heard(wifi, "b")
    with Walker(
        wifi, PHONE, "talk", ECHO, "7", "--connections=2", "--pause-ms=200", "--pulse-ms=200"
    ) as walker:
        for node, walk in (("b", lambda: roam(wifi, "b")), ("a", lambda: go_far_from(wifi, "b"))):
            walk()
            wait_until(lambda n=node: serving(wifi, n), what=f"the phone being served at {node}")
            time.sleep(3)
        result = walker.end()
    told = heard.end()
    keep(wifi, "talk", told, result["connections"])
    assert not [each["error"] for each in result["connections"] if each["error"]], story(wifi)
    assert all(each["messages"] > 5 for each in result["connections"])
    assert address(wifi) == lease
    words = [word for _, word in told]
    assert "station" in words, told
    assert words.index("station") < words.index("entry"), "the radio tells before the bridge"
    assert wpa(wifi)["key_mgmt"] == MOBILITY[wifi.kind][2]
    fast = {node: FAST in log(wifi, node, "hostapd") for node in POINTS}
    assert fast == dict.fromkeys(POINTS, wifi.kind == "802.11r"), story(wifi)


def test_an_idle_phone_is_found_by_nl80211_alone(wifi):
    """The bridges learn nothing and the phone says nothing: only the station can have told."""
    ports = [
        "bridge link set dev wlan0 learning off",
        "bridge fdb flush dev wlan0 master 2>/dev/null || true",
    ]
    for node in POINTS:
        wifi.script(node, ports)
    heard = Heard(wifi, "b")
    roam(wifi, "b")
    wait_until(lambda: serving(wifi, "b"), what="the phone being served at b")
    told = heard.end()
    keep(wifi, "idle", told)
    words = [word for _, word in told]
    assert "station" in words
    assert "entry" not in words
    entries = wifi.exec("b", ["bridge", "fdb", "show", "br", "br-client", "dev", "wlan0"]).stdout
    assert wifi.mac not in entries
    wait_until(lambda: wifi.is_answered(PHONE), what="an answer of the internet at b")
