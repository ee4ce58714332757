# SPDX-License-Identifier: ISC
"""A client roams by real Wi-Fi between two access points, and l3roamd_py hears of it from nl80211.

WIFI_TURNS in the environment is how often each test is repeated; what each saw is in $OUT.
"""

import contextlib
import itertools
import json
import os
import statistics
import time
from pathlib import Path

import pytest
from waiting import wait_until
from wifi_lab import (
    GAVE_UP,
    MOBILITY,
    NEAR_DB,
    PHONE,
    POINTS,
    address,
    associate,
    diagnostics,
    go_far_from,
    kernel_said,
    keyed,
    mesh,
    place,
    put,
    radios,
    roam,
    serving,
    telling,
    wpa,
)
from wifi_watch import Download, Heard

from l3roamd_py.core.events import ClientSeen
from l3roamd_py.kernel.finder import Finder
from l3roamd_py.kernel.network import Network
from l3roamd_py.kernel.stations import Stations
from runtime.netlink import message
from runtime.netlink_socket import GENERIC, open_socket
from sdk.lab import ECHO
from sdk.lab.radio import in_namespace
from sdk.roaming import TrafficProgram

TURNS = int(os.environ.get("WIFI_TURNS", "1"))
RUNS = [(kind, turn) for turn in range(TURNS) for kind in MOBILITY]
DATAGRAM_MS = 50
__all__ = ["mesh", "radios"]  # fixtures


@pytest.fixture(params=RUNS, ids=[f"{kind}-{turn}" if TURNS > 1 else kind for kind, turn in RUNS])
def wifi(mesh, request):
    """Access points on a and b, and the phone associated with a, with a lease."""
    mesh.kind, mesh.turn = request.param
    try:
        associate(mesh)
        yield mesh
    finally:
        for node in POINTS:
            put(mesh, node, NEAR_DB)
        for machine, program in ((PHONE, "wpa"), ("a", "hostapd"), ("b", "hostapd")):
            mesh.running.stop(machine, program)


def save(lab, name):
    """Leave what was seen outside of the machine."""
    file = Path(os.environ["OUT"], f"wifi-{lab.kind}-{name}-{lab.turn}.json")
    file.write_text(json.dumps([lab.found, diagnostics(lab)], indent=1))


def stall_ms(datagrams, begun, end):
    """The longest time without an echo of a datagram between two moments, less what is usual."""
    came = sorted(back for _, back in datagrams if back and begun - 1 < back < end)
    gaps = [after - before for before, after in itertools.pairwise(came)]
    return round((max(gaps, default=end - begun) - statistics.median(gaps or [0])) * 1000)


def walk_to(lab, node, how):
    """Walk the phone to a node and let it rest there; return what came of it."""
    before, since_s = keyed(lab), time.monotonic()
    begun = roam(lab, node) if how == "command" else go_far_from(lab, place(lab))
    wait_until(lambda: serving(lab, node), what=f"the phone being served at {node}")
    time.sleep(3)
    said = [each for each, times in keyed(lab).items() if times > before[each]]
    gave_up = [line for line in kernel_said(since_s) if any(word in line for word in GAVE_UP)]
    found = {"to": node, "by": how, "at_s": begun, "end_s": time.monotonic()}
    return {**found, "keys": said, "gave_up": gave_up}


@telling
def test_what_is_open_goes_on_while_the_phone_roams(wifi):
    """To b by command, back by signal: talks and a download go on, the lease stays, 802.11r is used if asked for."""
    lease, walks = address(wifi), []
    options = ["--connections=2", "--pause-ms=200", f"--datagram-ms={DATAGRAM_MS}"]
    with (
        Heard(wifi, "b") as heard,
        Download(wifi) as download,
        TrafficProgram(wifi, PHONE, "echo", ECHO, "7", *options) as walker,
    ):
        wifi.found = {"walks": walks, "heard": heard.told}
        for node, how in (("b", "command"), ("a", "signal")):
            walks.append(walk_to(wifi, node, how))
            download.goes_on()
        result = walker.end()
        assert download.is_whole()
    for walk in walks:
        walk["stall_ms"] = stall_ms(result["datagrams"], walk["at_s"], walk["end_s"])
    wifi.found["connections"] = result["connections"]
    save(wifi, "echo")
    assert not [each["error"] for each in result["connections"] if each["error"]]
    assert all(each["messages"] > 5 for each in result["connections"])
    assert address(wifi) == lease
    words = [word for _, word in heard.told]
    assert words.index("station") < words.index("entry"), "the radio tells before the bridge"
    assert wpa(wifi)["key_mgmt"] == MOBILITY[wifi.kind][2]
    # where the phone went, and nowhere else; after an access point that did not answer all begins by a handshake
    direct = [walk for walk in walks if not walk["gave_up"]]
    assert direct
    assert [walk["keys"] for walk in direct] == [[(walk["to"], MOBILITY[wifi.kind][3])] for walk in direct]


@telling
def test_an_idle_phone_is_found_by_nl80211_alone(wifi):
    """The bridges learn nothing and the phone says nothing: only the station can have told."""
    ports = [
        "bridge link set dev wlan0 learning off",
        "bridge fdb flush dev wlan0 master 2>/dev/null || true",
    ]
    for node in POINTS:
        wifi.script(node, ports)
    with Heard(wifi, "b") as heard:
        wifi.found = {"heard": heard.told}
        roam(wifi, "b")
        wait_until(lambda: serving(wifi, "b"), what="the phone being served at b")
        wait_until(lambda: "station" in [word for _, word in heard.told], what="word of nl80211")
    save(wifi, "idle")
    words = [word for _, word in heard.told]
    assert "entry" not in words
    entries = wifi.exec("b", ["bridge", "fdb", "show", "br", "br-client", "dev", "wlan0"]).stdout
    assert wifi.mac not in entries
    wait_until(lambda: wifi.is_answered(PHONE), what="an answer of the internet at b")


@telling
def test_who_could_not_be_told_of_stations_asks_who_is_here(wifi):
    """The socket is full when the phone comes: what the kernel says is lost."""
    mac, pid = bytes.fromhex(wifi.mac.replace(":", "")), wifi.running.pids["b"]
    pending = []

    def listen():
        finder = Finder(Network("br-client", None))
        finder.dump()
        stations = Stations(finder, pending)
        assert stations.open()
        return stations, open_socket(GENERIC)

    def fill():
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.sendto(message(0, 0, bytes(1024)), stations._socket.getsockname())

    def hear():
        events = []
        for _ in range(1000):  # what waits is read first
            events += stations.read()
        while pending:
            events += stations.listing.go_on(0.0)
        return events

    stations, sender = in_namespace(pid, listen)
    try:
        fill()
        roam(wifi, "b")
        wait_until(lambda: serving(wifi, "b"), what="the phone being served at b")
        assert in_namespace(pid, hear) == [ClientSeen(mac, is_proof=True)]
    finally:
        stations.close()
        sender.close()
