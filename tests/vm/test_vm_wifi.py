# SPDX-License-Identifier: ISC
"""A client roams by real Wi-Fi between two access points, and l3roamd_py hears of it from nl80211.

    phone (wpa_supplicant) ~ ~ a, b (hostapd, l3roamd_py) - c (platnode) - internet

mac80211_hwsim's radios are moved into the lab's machines; all of them hear each other. Nothing stands in for a radio.
WIFI_TURNS in the environment is how often each test is repeated; what each saw is in $OUT.
"""

import itertools
import json
import os
import select
import socket
import statistics
import struct
import subprocess
import textwrap
import threading
import time
from pathlib import Path

import pytest
from conftest import load, wait_until

from sdk.lab import ECHO, WEB
from sdk.lab.machine import REPOSITORY
from sdk.lab.radio import HEADER, attribute, attributes, in_namespace
from sdk.patience import SLOWER
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
TURNS = int(os.environ.get("WIFI_TURNS", "1"))
RUNS = [(kind, turn) for turn in range(TURNS) for kind in MOBILITY]
BYTES = bytes(range(256))  # what the internet's downloads consist of, over and over
PULSE_MS = 50
ANSWER_S = 5 * SLOWER
SOL_NETLINK, ADD_MEMBERSHIP, NEIGHBOURS = 270, 1, 3


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


@pytest.fixture(params=RUNS, ids=[f"{kind}-{turn}" if TURNS > 1 else kind for kind, turn in RUNS])
def wifi(mesh, request):
    """Access points on a and b, and the phone associated with a, with a lease."""
    mesh.kind, mesh.turn = request.param
    for node in POINTS:
        mesh.script(node, ["rm -f /run/log/hostapd.log"])
        mesh.exec(node, ["tee", "/run/hostapd.conf"], stdin=hostapd_conf(node, mesh.kind))
        mesh.running.daemon(node, "hostapd", ["hostapd", "/run/hostapd.conf"])
    for node in POINTS:
        wait_until(lambda n=node: "AP-ENABLED" in log(mesh, n, "hostapd"), what=f"an access point on {node}")
    mesh.exec(PHONE, ["tee", "/run/wpa.conf"], stdin=supplicant_conf(mesh.kind))
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
    yield mesh
    for node in POINTS:
        put(mesh, node, NEAR_DB)
    for machine, program in ((PHONE, "wpa"), ("a", "hostapd"), ("b", "hostapd")):
        mesh.running.stop(machine, program)


def log(lab, machine, program):
    return lab.running.read(machine, f"/run/log/{program}.log")


def say(lab, command):
    """Say something to wpa_supplicant, and return its answer, "" if there is none. Both see the same /tmp."""
    own = Path(f"/tmp/wpa-{os.getpid()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.settimeout(ANSWER_S)
        try:
            asking.bind(str(own))
            asking.connect(f"/proc/{lab.running.pids[PHONE]}/root/run/wpa/wlan0")
            asking.send(command.encode())
            return asking.recv(1 << 16).decode(errors="replace")
        except OSError:
            return ""
        finally:
            own.unlink(missing_ok=True)


def wpa(lab):
    """What wpa_supplicant says of itself."""
    pairs = (line.partition("=") for line in say(lab, "STATUS").splitlines())
    return {key: value for key, _, value in pairs}


def address(lab):
    return lab.associations.kernel(PHONE).ipv4_address("wlan0")


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
        say(lab, f"SCAN freq={mhz}")
        return lab.bssids[node] in say(lab, "SCAN_RESULTS")

    wait_until(is_heard, what=f"hearing {node}")
    begun = time.monotonic()
    assert "OK" in say(lab, f"ROAM {lab.bssids[node]}")
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
    Path(os.environ.get("OUT", "/tmp"), f"wifi-{lab.kind}-{name}-{lab.turn}.json").write_text(
        json.dumps([*found, story(lab)], indent=1)
    )


class Heard:
    """What a node's kernel tells of the phone, while it lasts: nl80211 of stations, the bridge of its entries."""

    GENERIC, NEW_STATION, DEL_STATION, NEW_ENTRY, DEL_ENTRY = 16, 19, 20, 28, 29

    def __init__(self, lab, node):
        self.mac, self.told, self.is_over = bytes.fromhex(lab.mac.replace(":", "")), [], False
        self.stations, self.entries = in_namespace(lab.running.pids[node], self.open)
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def open(self):
        made = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) for family in (self.GENERIC, 0)]
        for each in made:
            each.bind((0, 0))
            each.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, stations_group() if each is made[0] else NEIGHBOURS)
        return made

    def listen(self):
        while not self.is_over:
            for each in select.select([self.stations, self.entries], [], [], 0.1)[0]:
                now_s, data = time.monotonic(), each.recv(1 << 16)
                while data:
                    length, kind, *_ = HEADER.unpack_from(data)
                    message, data = data[HEADER.size : length], data[(length + 3) & ~3 :]
                    if self.mac in message and (word := self.word(each, kind, message[0])):
                        self.told.append((now_s, word))

    def word(self, where, kind, first):
        """What a message says; its first byte is nl80211's command, or a neighbour's family."""
        if where is self.stations:
            return {self.NEW_STATION: "station", self.DEL_STATION: "no station"}.get(first)
        entry = {self.NEW_ENTRY: "entry", self.DEL_ENTRY: "no entry"}.get(kind)
        return entry if first == socket.AF_BRIDGE else None

    def end(self):
        """End it, and return pairs of time and word."""
        self.is_over = True
        self.thread.join()
        self.stations.close()
        self.entries.close()
        return self.told


def stations_group():
    """The number of nl80211's group that is told of stations, which generic netlink's controller (16) knows."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, Heard.GENERIC) as asking:
        asking.bind((0, 0))
        question = struct.pack("=BBH", 3, 1, 0) + attribute(2, b"nl80211\0")  # CTRL_CMD_GETFAMILY, by name
        asking.send(HEADER.pack(HEADER.size + len(question), 16, 1, 1, 0) + question)
        answer = dict(attributes(asking.recv(1 << 16)[HEADER.size + 4 :]))
    groups = (dict(attributes(group)) for _, group in attributes(answer[7]))  # CTRL_ATTR_MCAST_GROUPS
    return next(struct.unpack("=I", group[2])[0] for group in groups if group[1] == b"mlme\0")


def story(lab):
    parts = [
        f"{node} {program}\n{log(lab, node, program)[-1500:]}"
        for node in POINTS
        for program in ("hostapd", "l3roamd")
    ]
    counted = {node: lab.roaming_status(node).get("counters") for node in (*POINTS, "c")}
    return "\n".join([*parts, log(lab, PHONE, "wpa")[-1500:], json.dumps(counted)])


class Download:
    """A download of the phone's that goes on for longer than the test, at a pace that leaves others the processor."""

    FILE, PACE = "/run/download", "60k"

    def __init__(self, lab):
        self.lab = lab
        lab.script(PHONE, [f"rm -f {self.FILE}"])
        words = ["curl", "-sN", "--limit-rate", self.PACE, "-o", self.FILE, f"http://{WEB}/bytes/1000000000"]
        self.process = lab.popen(PHONE, words)

    def bytes(self):
        file = Path(f"/proc/{self.lab.running.pids[PHONE]}/root{self.FILE}")
        return file.read_bytes() if file.exists() else b""

    def goes_on(self):
        size = len(self.bytes())
        wait_until(lambda: len(self.bytes()) > size, what=f"more of a download than {size} bytes")

    def end(self):
        """End it, and return whether it was under way and what came is what was sent."""
        is_under_way, came = self.process.poll() is None, self.bytes()
        self.process.kill()
        self.process.wait()
        return is_under_way and came == (BYTES * (len(came) // len(BYTES) + 1))[: len(came)]


def stall_ms(pulse, begun, end):
    """The longest time without an echo of a datagram between two moments, less what is usual."""
    came = sorted(back for _, back in pulse if back and begun - 1 < back < end)
    gaps = [after - before for before, after in itertools.pairwise(came)]
    return round((max(gaps, default=end - begun) - statistics.median(gaps or [0])) * 1000)


def test_what_is_open_goes_on_while_the_phone_roams(wifi):
    """To b by command, back by signal: talks and a download go on, the lease stays, 802.11r is used if asked for."""
    lease, heard, download, walks = address(wifi), Heard(wifi, "b"), Download(wifi), []
    download.goes_on()
    options = ["--connections=2", "--pause-ms=200", f"--pulse-ms={PULSE_MS}"]
    with Walker(wifi, PHONE, "talk", ECHO, "7", *options) as walker:
        for node, how, walk in (
            ("b", "command", lambda: roam(wifi, "b")),
            ("a", "signal", lambda: go_far_from(wifi, "b")),
        ):
            said = {each: log(wifi, each, "hostapd").count(FAST) for each in POINTS}
            begun = walk()
            wait_until(lambda n=node: serving(wifi, n), what=f"the phone being served at {node}")
            download.goes_on()
            time.sleep(3)
            fast = {each: log(wifi, each, "hostapd").count(FAST) - said[each] for each in POINTS}
            walks.append({"to": node, "by": how, "at_s": begun, "end_s": time.monotonic(), "fast": fast})
        result = walker.end()
    told = heard.end()
    for walk in walks:
        walk["stall_ms"] = stall_ms(result["pulse"], walk["at_s"], walk["end_s"])
    keep(wifi, "talk", walks, told, result["connections"])
    assert download.end()
    assert not [each["error"] for each in result["connections"] if each["error"]], story(wifi)
    assert all(each["messages"] > 5 for each in result["connections"])
    assert address(wifi) == lease
    words = [word for _, word in told]
    assert "station" in words, told
    assert words.index("station") < words.index("entry"), "the radio tells before the bridge"
    assert wpa(wifi)["key_mgmt"] == MOBILITY[wifi.kind][2]
    for walk in walks:  # hostapd says it where the keys came by 802.11r's frames, and nowhere else
        assert walk["fast"] == {each: int(wifi.kind == "802.11r" and each == walk["to"]) for each in POINTS}


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
