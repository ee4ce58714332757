# SPDX-License-Identifier: ISC
"""A mesh whose access points and client have radios of mac80211_hwsim, moved into the lab's machines.

    phone (wpa_supplicant) ~ ~ a, b (hostapd, l3roamd_py) - c (platnode) - internet

All radios hear each other. Nothing stands in for one. What fails tells what all who had a part in it said.
"""

import functools
import itertools
import json
import os
import socket
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
from conftest import load
from meshes import mesh_text
from waiting import wait_until

from sdk.lab import LabError
from sdk.lab.machine import REPOSITORY
from sdk.lab.plan import ROAMING_SOCKET
from sdk.timeouts import TIMEOUT_SCALE

MESH = mesh_text("a=clat b=clat c=plat", "a-b b-c a-c", hello_interval_ms=2000)
POINTS = {"a": (1, 2412), "b": (6, 2437)}  # channel and MHz of each access point
PHONE = "phone"
# the loss that hwsim, which knows no distance, applies to an access point's 20 dBm. Below -45 dBm the phone scans for
# another, and below -67 dBm, 25 over the noise, it changes
NEAR_DB, FAR_DB = -50, -100
SEARCH_DBM = -45
# the key management asked for, more for hostapd, what wpa_supplicant calls it, and what hostapd says when it has keys:
# by a handshake after the association, or by 802.11r's frames before it
MOBILITY = {
    "plain": ("WPA-PSK", "", "WPA2-PSK", "EAPOL-4WAY-HS-COMPLETED"),
    "802.11r": (
        "FT-PSK",
        "mobility_domain=a1b2\nft_over_ds=0\nft_psk_generate_local=1\n",
        "FT-PSK",
        "FT authentication already completed",
    ),
}
KEYED = [said for *_, said in MOBILITY.values()]
LOG_CHARS = 6000  # of each log, in the diagnostics
# mac80211 asks three times, a tenth of a second each, whatever the machine: a radio's daemons come first
SOON = ["chrt", "--fifo", "1"]
GAVE_UP = (" timed out", " lost")  # what it says then, and when it has heard nothing for long
AGAIN_S = 5
ANSWER_S = 5 * TIMEOUT_SCALE


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
    lab = lab_of(MESH)
    lab.running.boot(PHONE)
    lab.devices = dict(zip(("a", "b", PHONE), sorted(radios), strict=True))
    lab.phys = {machine: radios[device] for machine, device in lab.devices.items()}
    for machine, device in lab.devices.items():
        move = ["iw", "phy", radios[device], "set", "netns", str(lab.running.pids[machine])]
        subprocess.run(move, check=True, capture_output=True)
        lab.script(machine, [f"ip link set {device} name wlan0"])
    for node in (*POINTS, "c"):
        lab.running.ask(node, ROAMING_SOCKET, "verbosity debug")
    lab.mac = lab.exec(PHONE, ["cat", "/sys/class/net/wlan0/address"]).stdout.strip()
    lab.script(PHONE, ["sysctl -qw net.ipv6.conf.wlan0.disable_ipv6=1"])
    lab.bssids = {
        node: lab.exec(node, ["cat", "/sys/class/net/wlan0/address"]).stdout.strip() for node in POINTS
    }
    return lab


def hostapd_conf(node, kind):
    channel, _ = POINTS[node]
    key_mgmt, more, *_ = MOBILITY[kind]
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


def telling(act):
    """Have what fails tell what all who had a part in it said."""

    @functools.wraps(act)
    def told(wifi):
        wifi.begun_s, wifi.found = time.monotonic(), {}
        try:
            return act(wifi)
        except (AssertionError, LabError) as error:
            raise AssertionError(f"{error}\n{diagnostics(wifi)}") from error

    return told


@telling
def associate(mesh):
    for machine in (*POINTS, PHONE):
        mesh.script(machine, ["rm -f /run/log/hostapd.log /run/log/wpa.log"])
    for node in POINTS:
        mesh.exec(node, ["tee", "/run/hostapd.conf"], stdin=hostapd_conf(node, mesh.kind))
        mesh.running.daemon(node, "hostapd", [*SOON, "hostapd", "-t", "/run/hostapd.conf"])
    for node in POINTS:
        wait_until(lambda n=node: "AP-ENABLED" in log(mesh, n, "hostapd"), what=f"an access point on {node}")
    mesh.exec(PHONE, ["tee", "/run/wpa.conf"], stdin=supplicant_conf(mesh.kind))
    words = ["wpa_supplicant", "-t", "-i", "wlan0", "-c", "/run/wpa.conf"]
    mesh.running.daemon(PHONE, "wpa", [*SOON, *words])
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
    """Walk the phone to a node by command, and return when it was asked to (monotonic, s).

    It stays, or goes back, where it was if the node did not answer in time; then it is asked again.
    """
    asked = []

    def is_heard():
        say(lab, f"SCAN freq={POINTS[node][1]}")
        return lab.bssids[node] in say(lab, "SCAN_RESULTS")

    def is_there():
        status = wpa(lab)
        is_associated = status.get("wpa_state") == "COMPLETED"
        if asked and (not is_associated or status.get("bssid") == lab.bssids[node]):
            return is_associated
        if not asked or time.monotonic() > asked[-1] + AGAIN_S:
            begun = time.monotonic()
            if "OK" in say(lab, f"ROAM {lab.bssids[node]}"):
                asked.append(begun)
            else:
                is_heard()  # a busy radio may have missed it twice since, and forgotten it
        return False

    wait_until(is_heard, what=f"hearing {node}")
    wait_until(is_there, what=f"being at {node}")
    return asked[-1]


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


def keyed(lab):
    """How often each access point said that it has keys, by its node and words."""
    return {(node, said): log(lab, node, "hostapd").count(said) for node in POINTS for said in KEYED}


def kernel_said(since_s):
    """What the kernel said of radios since then (monotonic, s)."""
    lines = subprocess.run(["dmesg"], capture_output=True, text=True).stdout.splitlines()
    return [
        line for line in lines if "wlan" in line and float(line.strip("[").partition("]")[0]) >= since_s - 0.1
    ]


def diagnostics(lab):
    """What was found so far, and what kernel, radios and daemons said; those by the clock on the wall."""
    on_wall_s = lab.begun_s + time.time() - time.monotonic()
    parts = [f"begun at {lab.begun_s:.3f}, {on_wall_s:.3f} on the wall; found {json.dumps(lab.found)}"]
    parts += kernel_said(lab.begun_s)
    for each, program in [(PHONE, "wpa"), *itertools.product(POINTS, ("hostapd", "l3roamd"))]:
        parts.append(f"--- {each} {program}\n{log(lab, each, program)[-LOG_CHARS:]}")
    for node in (*POINTS, "c"):
        status = lab.roaming_status(node)
        parts.append(f"--- {node} {json.dumps([status.get('clients'), status.get('counters')])}")
    return "\n".join(parts)
