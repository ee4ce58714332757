# SPDX-License-Identifier: ISC
"""What the lab says to kernels when a client walks, byte for byte. No kernel needed."""

import struct

import pytest

from sdk.lab.radio import LINK, Device, attribute, attributes, device_of, station_frame


@pytest.mark.parametrize(("kind", "value"), [(3, b"eth0\0"), (10, b"\1\0\0\0"), (1, b""), (2, b"\2abcde")])
def test_attributes_come_back_as_they_were(kind, value):
    encoded = attribute(kind, value)
    assert len(encoded) % 4 == 0
    assert list(attributes(encoded)) == [(kind, value)]
    assert list(attributes(encoded + attribute(7, b"x"))) == [(kind, value), (7, b"x")]


def test_attributes_of_nonsense_end():
    assert list(attributes(b"\0\0\0\0" * 3)) == []
    assert list(attributes(b"\3\0")) == []


@pytest.mark.parametrize(("operstate", "is_up"), [(0, True), (6, True), (2, False), (3, False)])
def test_a_device_is_read_from_what_the_kernel_says(operstate, is_up):
    message = LINK.pack(0, 1, 7, 0, 0)
    message += (
        attribute(3, b"r123\0") + attribute(10, struct.pack("=I", 4)) + attribute(16, bytes((operstate,)))
    )
    assert device_of(message) == Device("r123", 7, 4, is_up)
    assert device_of(LINK.pack(0, 1, 1, 0, 0) + attribute(3, b"lo\0")).master == 0


def test_a_new_stations_frame_is_an_xid_to_all_in_its_name():
    frame = station_frame(bytes.fromhex("020000000001"))
    assert frame == bytes.fromhex("ffffffffffff 020000000001 0006 0001 af 810100")
