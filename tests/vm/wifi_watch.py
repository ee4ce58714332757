# SPDX-License-Identifier: ISC
"""What is watched while the phone walks: what a node's kernel tells of it, and a download of its own."""

import select
import socket
import struct
import threading
import time
from pathlib import Path

from waiting import wait_until
from wifi_lab import PHONE

from sdk.lab import WEB
from sdk.lab.radio import HEADER, attribute, attributes, in_namespace

BYTES = bytes(range(256))  # what the internet's downloads consist of, over and over
SOL_NETLINK, ADD_MEMBERSHIP, NEIGHBOURS = 270, 1, 3


class Heard:
    """What a node's kernel tells of the phone, as a context: nl80211 of stations, the bridge of its entries."""

    GENERIC, NEW_STATION, DEL_STATION, NEW_ENTRY, DEL_ENTRY = 16, 19, 20, 28, 29

    def __init__(self, lab, node):
        self.mac, self.told, self.is_over = bytes.fromhex(lab.mac.replace(":", "")), [], False
        self.stations, self.entries = in_namespace(lab.running.pids[node], self.open)
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.is_over = True
        self.thread.join()
        self.stations.close()
        self.entries.close()

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


def stations_group():
    """The number of nl80211's group that is told of stations, which generic netlink's controller (16) knows."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, Heard.GENERIC) as asking:
        asking.bind((0, 0))
        question = struct.pack("=BBH", 3, 1, 0) + attribute(2, b"nl80211\0")  # CTRL_CMD_GETFAMILY, by name
        asking.send(HEADER.pack(HEADER.size + len(question), 16, 1, 1, 0) + question)
        answer = dict(attributes(asking.recv(1 << 16)[HEADER.size + 4 :]))
    groups = (dict(attributes(group)) for _, group in attributes(answer[7]))  # CTRL_ATTR_MCAST_GROUPS
    return next(struct.unpack("=I", group[2])[0] for group in groups if group[1] == b"mlme\0")


class Download:
    """A download of the phone's, as a context: longer than the test, at a pace that leaves others the processor."""

    FILE, PACE = "/run/download", "60k"

    def __init__(self, lab):
        self.lab = lab
        lab.script(PHONE, [f"rm -f {self.FILE}"])
        words = ["curl", "-sN", "--limit-rate", self.PACE, "-o", self.FILE, f"http://{WEB}/bytes/1000000000"]
        self.process = lab.popen(PHONE, words)

    def __enter__(self):
        self.goes_on()
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()

    def bytes(self):
        file = Path(f"/proc/{self.lab.running.pids[PHONE]}/root{self.FILE}")
        return file.read_bytes() if file.exists() else b""

    def goes_on(self):
        size = len(self.bytes())
        wait_until(lambda: len(self.bytes()) > size, what=f"more of a download than {size} bytes")

    def is_whole(self):
        """Whether it is under way, and what came is what was sent."""
        is_under_way, came = self.process.poll() is None, self.bytes()
        return is_under_way and came == (BYTES * (len(came) // len(BYTES) + 1))[: len(came)]
