# SPDX-License-Identifier: ISC
"""The socket for requests over netlink, on either Python, with the kernel that is here. Only one dump needs rights."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from runtime import netlink, netlink_socket

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = [
    "from runtime import netlink",
    "from runtime.netlink_socket import NetlinkSocket, drain, open_socket",
    "get = lambda index, flags: netlink.message(18, flags, bytes(4) + index.to_bytes(4, 'little') + bytes(8))",
]
EXPRESSIONS = {
    "links": "[len(told) > 16 for told in NetlinkSocket(0).dump(get(0, netlink.DUMP))][0]",
    "one": "[netlink.attributes(told, 16)[3] for told in NetlinkSocket(0).dump(get(1, 0))]",
    "acknowledged": "len(list(NetlinkSocket(0).dump(get(1, netlink.ACK))))",
    "skipped": "[netlink.attributes(told)[3] for told in NetlinkSocket(0, 16).dump(get(1, 0))]",
    "failures": "sorted(NetlinkSocket(0).failures([get(1, 0), get(0x7FFFFFFF, 0)] * 100).items())",
    "missing": "list(NetlinkSocket(0).dump(get(0x7FFFFFFF, 0)))",
    "nothing": "list(drain(open_socket(0), 9))",
}
EXPECTED = {
    "links": True,
    "one": [b"lo\0"],
    "acknowledged": 1,
    "skipped": [b"lo\0"],
    "failures": [[place, errno.ENODEV] for place in range(1, 200, 2)],
    "nothing": [],
}


def plain(value):
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def test_requests_are_answered_on_cpython():
    scope = {}
    for line in IMPORTS:
        exec(line, scope)
    for name, expected in EXPECTED.items():
        assert plain(eval(EXPRESSIONS[name], scope)) == expected, name
    with pytest.raises(netlink_socket.NetlinkError) as raised:
        eval(EXPRESSIONS["missing"], scope)
    assert (raised.value.errno, raised.value.index) == (errno.ENODEV, 0)


def test_requests_are_answered_on_micropython(micropython):
    texts = [text.replace("get(", f"({IMPORTS[2].partition(' = ')[2]})(") for text in EXPRESSIONS.values()]
    found = dict(zip(EXPRESSIONS, micropython.each(IMPORTS[:2], texts), strict=True))
    assert "NetlinkError" in found.pop("missing")
    assert found == EXPECTED


DUMP_OF_MANY = """
import struct
from runtime import netlink
from runtime.netlink_socket import NetlinkSocket
asking = NetlinkSocket(0, 12)
# RTM_NEWNEIGH: ndmsg and the address
for place in range(1500):
    address = bytes((0xFD,)) + place.to_bytes(15, "big")
    body = struct.pack("BBHiHBB", 10, 0, 0, 77, 0x80, 0, 0) + netlink.attribute(1, address)
    asking.ask(netlink.message(28, 0x400, body + netlink.attribute(2, bytes(6))))
told = [netlink.attributes(each)[1] for each in asking.dump(netlink.message(30, netlink.DUMP, bytes(12)))]
print(len([each for each in told if each[0] == 0xFD]))
"""


def test_a_dump_of_many_packs_is_read_whole_on_micropython(micropython):
    """What does not fit into a buffer is cut off, and nothing says so."""
    alone = [
        "unshare",
        "--net",
        "sh",
        "-c",
        'ip link add one index 77 type veth peer name two && ip link set one up && exec "$0" -c "$1"',
    ]
    environment = {**os.environ, "MICROPYPATH": f"{ROOT}:.frozen"}
    said = subprocess.run(
        [*alone, micropython.program, DUMP_OF_MANY], capture_output=True, text=True, env=environment
    )
    assert (said.stdout, said.stderr) == ("1500\n", "")


def test_what_the_last_request_left_is_nothing_to_the_next():
    links = netlink.message(18, netlink.DUMP, bytes(16))
    asking = netlink_socket.NetlinkSocket(0)
    for _ in range(3):
        left = asking.dump(links)
        next(left)
        one = netlink.message(18, 0, b"\0\0\0\0\1\0\0\0" + bytes(8))
        assert len(list(asking.dump(one))) == 1
        asking.ask(one)
        with pytest.raises(RuntimeError, match="middle"):
            list(left)
    asking.send([netlink.message(18, netlink.ACK, bytes(16))])  # an answer that nobody waited for
    asking.ask(one)
    asking.close()
