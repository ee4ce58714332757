# SPDX-License-Identifier: ISC
"""Cases of the router advertisements for hosts with a CLAT of their own: bytes as in the RFCs, and when they leave."""

import os

from prefixd import advert
from prefixd.advert import ALL_NODES, ALL_NODES_MAC, Advertiser
from prefixd.link_advert import Advert
from runtime.loop import Clock
from xlat464.address import parse_ipv6

PREF64 = parse_ipv6("fddd:1338:1338::")
ROUTER = parse_ipv6("fe80::1441:95ff:fe40:f7dc")
PHONE = parse_ipv6("fe80::aa")
ROUTER_MAC, PHONE_MAC = b"\x16\x41\x95\x40\xf7\xdc", b"\x02\x00\x00\x00\x00\xaa"
DNS = parse_ipv6("fd46:4646:4646:1::53")
# hop limit 64, no flags, a router for 900 s, no timers: what uradvd says in Gluon
FIXED = b"\x40\x00\x03\x84" + bytes(8)
SOURCE_MAC_OPTION = b"\x01\x01" + ROUTER_MAC
PREFIX_OPTION = (
    b"\x03\x04\x40\x40\x00\x01\x51\x80\x00\x00\x38\x40" + bytes(4) + parse_ipv6("fd46:4646:4646::")
)
RDNSS_OPTION = b"\x19\x03\x00\x00\x00\x00\x04\xb0" + DNS
THERE = b"\x26\x02\x07\x08\xfd\xdd\x13\x38\x13\x38\x00\x00\x00\x00\x00\x00"  # 1800 s: 225 units of 8 s, and 0 for /96
GONE = b"\x26\x02\x00\x00" + THERE[4:]


def frame(
    options=SOURCE_MAC_OPTION + PREFIX_OPTION, to=ALL_NODES, mac=ALL_NODES_MAC, fixed=FIXED, source=ROUTER
):
    """An advertisement as the node's own daemon sends it. The checksum is the kernel's, and nobody looks at it."""
    body = b"\x86\x00\xab\xcd" + fixed + options
    header = b"\x60\x0c\x34\x56" + bytes((0, len(body), 58, 255)) + source + to
    return mac + ROUTER_MAC + b"\x86\xdd" + header + body


def sent(advertiser, now_ms):
    return list(advertiser.pop_due(now_ms))


def options_of(frame):
    """Return the options of an advertisement that was sent, its checksum being right."""
    total = 0
    counted = frame[22:54] + bytes((0, 0, 0, len(frame) - 54, 0, 0, 0, 58)) + frame[54:]
    for at in range(0, len(counted), 2):
        total += counted[at] << 8 | counted[at + 1]
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF, "checksum"
    assert frame[18:20] == bytes((0, len(frame) - 54)), "payload length"
    return frame[70:]


def heard(told=True, **settings):
    """An advertiser that has heard the daemon at 0 ms, and whose first three were sent."""
    advertiser = Advertiser(PREF64, **settings)
    advertiser.hear(frame(), True, 0)
    if told is not None:
        advertiser.tell(told, 0)
        for now_ms in (3000, 7000, 11000):
            sent(advertiser, now_ms)
    return advertiser


def case_an_advertisement_is_the_daemons_with_other_options():
    advertiser = Advertiser(PREF64)
    advertiser.hear(frame(), True, 0)
    advertiser.tell(True, 5000)
    (ours,) = sent(advertiser, 5000)
    assert ours[:14] == b"\x33\x33\x00\x00\x00\x01" + ROUTER_MAC + b"\x86\xdd"
    assert ours[14:54] == b"\x60\x00\x00\x00\x00\x20\x3a\xff" + ROUTER + parse_ipv6("ff02::1")
    assert ours[54:58] == b"\x86\x00" + ours[56:58] and ours[58:70] == FIXED
    assert options_of(ours) == THERE


def case_the_lifetime_is_in_units_of_8_seconds_and_rounded_up():
    for lifetime_s, field in ((0, b"\x00\x00"), (1, b"\x00\x08"), (8, b"\x00\x08"), (65528, b"\xff\xf8")):
        assert advert.pref64_option(PREF64, lifetime_s)[2:4] == field, lifetime_s


def case_dns_and_mtu_are_said_where_the_daemon_does_not():
    mtu = b"\x05\x01\x00\x00\x00\x00\x05\x5e"
    rdnss = b"\x19\x03\x00\x00\x00\x00\x07\x08" + DNS
    for said, ours in (
        (b"", THERE + rdnss + mtu),
        (RDNSS_OPTION, THERE + mtu),
        (mtu, THERE + rdnss),
        (mtu[:6] + b"\x05\x00", THERE + rdnss),  # a narrower link stays one
        (mtu[:6] + b"\x05\xdc", THERE + rdnss + mtu),  # that of the device, from odhcpd
        (mtu + RDNSS_OPTION, THERE),
    ):
        advertiser = heard(dns=[DNS], mtu=1374)
        advertiser.hear(frame(SOURCE_MAC_OPTION + said + PREFIX_OPTION), True, 20000)
        assert options_of(sent(advertiser, 20000)[0]) == ours, said


def case_a_dns_server_may_be_this_node_or_behind_the_prefix():
    advertiser = heard(dns=[b"", bytes((198, 51, 100, 53))])
    advertiser.hear(frame(), True, 20000)
    behind = parse_ipv6("fddd:1338:1338::198.51.100.53")
    expected = THERE + b"\x19\x05\x00\x00\x00\x00\x07\x08" + ROUTER + behind
    assert options_of(sent(advertiser, 20000)[0]) == expected


def case_ours_follows_each_of_the_daemons_to_whom_it_went():
    advertiser = heard()
    advertiser.hear(frame(to=PHONE, mac=PHONE_MAC), True, 20000)
    assert advertiser.deadline_ms(20000) == 20000
    (ours,) = sent(advertiser, 20000)
    assert ours[:6] == PHONE_MAC and ours[38:54] == PHONE and options_of(ours) == THERE
    advertiser.hear(frame(), True, 30000)
    advertiser.hear(frame(to=PHONE, mac=PHONE_MAC), True, 30000)
    assert sorted(each[:6] for each in sent(advertiser, 30000)) == [PHONE_MAC, ALL_NODES_MAC]
    assert sent(advertiser, 30001) == []


def case_what_is_no_option_is_as_the_daemon_said_last():
    advertiser = heard()
    fixed = (
        b"\x3f\x48\x00\x00" + b"\x00\x00\x75\x30\x00\x00\x03\xe8"
    )  # no router any more, with flags and timers
    advertiser.hear(frame(fixed=fixed), True, 20000)
    assert sent(advertiser, 20000)[0][58:70] == fixed


def case_nothing_is_announced_before_it_is_known_whether_there_is_an_exit():
    advertiser = Advertiser(PREF64, [DNS], 1374)
    for now_ms in range(0, 10**6, 7000):
        advertiser.hear(frame(), True, now_ms)
        assert sent(advertiser, now_ms) == [] and advertiser.told is None
    advertiser.tell(True, 10**6)
    assert options_of(sent(advertiser, 10**6)[0])[:16] == THERE


def case_nothing_is_sent_before_the_daemon_was_heard():
    advertiser = Advertiser(PREF64)
    advertiser.tell(True, 0)
    assert sent(advertiser, 10000) == []
    advertiser.hear(frame(), True, 10000)
    assert len(sent(advertiser, 10000)) == 1


def case_an_exit_that_dies_takes_the_lifetime_with_it_at_once():
    advertiser = heard()
    advertiser.tell(False, 100000)
    assert advertiser.deadline_ms(100000) == 100000
    times = []
    for now_ms in range(100000, 140000, 500):
        for ours in sent(advertiser, now_ms):
            assert options_of(ours) == GONE
            times.append(now_ms)
    assert times == [100000, 104000, 108000]
    advertiser.hear(frame(), True, 140000)
    assert options_of(sent(advertiser, 140000)[0]) == GONE, "who has missed it is told again"
    advertiser.tell(True, 150000)
    assert options_of(sent(advertiser, 150000)[0]) == THERE


def case_two_to_all_hosts_are_3_seconds_apart_however_an_exit_flaps():
    advertiser = heard()
    times = []
    for now_ms in range(100000, 160000, 100):
        advertiser.tell(now_ms // 100 % 2 == 0, now_ms)
        times += [now_ms] * len(sent(advertiser, now_ms))
    assert len(times) == 20 and all(times[i + 1] - times[i] >= 3000 for i in range(19))
    advertiser = heard()
    advertiser.hear(frame(), True, 100000)
    assert len(sent(advertiser, 100000)) == 1
    advertiser.tell(False, 100500)
    assert sent(advertiser, 102999) == [] and len(sent(advertiser, 103000)) == 1


def told_by(link, seconds, is_there):
    """What hosts are told in seconds of a link, whether there is an exit being asked each second; (s, told)."""
    changes, before = [], None
    for second in seconds:
        link.tell(is_there(second), second * 1000)
        if link._advertiser.told != before:
            before = link._advertiser.told
            changes.append((second, before))
    return changes


def case_hosts_are_told_of_an_exit_that_flaps_twice_and_of_its_end_all_the_same():
    """Eight seconds here and four away, for ten minutes; then it is gone for good."""
    link = Advert(None, Clock(), "no-such-device", Advertiser(PREF64), None)
    changes = told_by(link, range(700), lambda second: second < 600 and second % 12 < 8)
    assert changes[:3] == [(0, True), (8, False), (12, True)], changes
    assert len(changes) == 4 and changes[3][1] is False and 600 <= changes[3][0] <= 680, changes
    assert (advert.PATIENCE_MAX_MS, changes[3][0]) == (80000, 676)


def case_an_exit_that_was_steady_for_long_is_withdrawn_at_once_again():
    link = Advert(None, Clock(), "no-such-device", Advertiser(PREF64), None)
    changes = told_by(link, range(1500), lambda second: not (100 <= second < 110 or 800 <= second < 1400))
    assert changes == [(0, True), (100, False), (110, True), (800, False), (1400, True)], changes
    # nor does one count that is away for long, or that was never there
    changes = told_by(
        link, range(2000, 4000), lambda second: not (2300 <= second < 2400 or 2500 <= second < 2600)
    )
    assert changes == [(2000, True), (2300, False), (2400, True), (2500, False), (2600, True)], changes
    link = Advert(None, Clock(), "no-such-device", Advertiser(PREF64), None)
    assert told_by(link, range(60), lambda second: 5 <= second < 20) == [(0, False), (5, True), (20, False)]


def case_who_ends_has_hosts_told_twice():
    advertiser = heard()
    link = Advert(None, Clock(), "no-such-device", advertiser, None)
    link._sock = True
    times = [
        now_ms
        for now_ms in range(100000, 120000, 500)
        if not link.withdraw(now_ms) and sent(advertiser, now_ms)
    ]
    assert times == [100000, 104000] and link.withdraw(104500)
    assert link.withdraw(2 * 10**6), "the node is no router any more: hosts do not ask it"
    link = Advert(None, Clock(), "no-such-device", Advertiser(PREF64), None)
    assert link.withdraw(0), "there is no device"


def case_the_lifetime_is_renewed_while_the_daemon_is_silent_and_a_router():
    advertiser = heard()
    advertiser.hear(frame(fixed=b"\x40\x00\x07\x08" + bytes(8)), True, 20000)
    assert len(sent(advertiser, 20000)) == 1
    assert sent(advertiser, 619999) == [] and len(sent(advertiser, 620000)) == 1


def case_what_a_silent_daemon_said_is_forgotten_with_its_router_lifetime():
    """Or this node would stay a router of hosts whose daemon says so no more."""
    advertiser = heard()
    advertiser.tell(False, 899999)
    assert len(sent(advertiser, 899999)) == 1
    advertiser.tell(True, 900000)
    assert sent(advertiser, 910000) == []
    assert advertiser.pop_solicit(910000)
    advertiser.hear(frame(), True, 910500)
    assert options_of(sent(advertiser, 910500)[0]) == THERE


def case_the_daemon_is_asked_until_it_is_heard():
    advertiser = Advertiser(PREF64)
    times = [now_ms for now_ms in range(0, 200000, 1000) if advertiser.pop_solicit(now_ms)]
    assert times == [0, 4000, 8000, 68000, 128000, 188000]
    advertiser.hear(frame(), True, 200000)
    assert not advertiser.pop_solicit(300000)


def case_a_router_that_is_not_this_node_is_noted_once_and_not_followed():
    advertiser = heard()
    other = parse_ipv6("fe80::bad")
    assert advertiser.hear(frame(source=other), False, 20000)
    assert not advertiser.hear(frame(THERE, source=other), False, 20001)
    assert sent(advertiser, 20001) == [] and advertiser.others == [other]
    for number in range(100):
        advertiser.hear(frame(source=other[:15] + bytes((number,))), False, 30000)
    assert len(advertiser.others) == advert.OTHERS_MAX


class Unread(bytes):
    """An advertisement of whose options none may be looked at."""

    def __getitem__(self, key):
        assert isinstance(key, slice), "it is parsed"
        return bytes(self)[key]


def case_a_flood_of_other_routers_is_not_parsed():
    """Neither of those that are known, nor of any once as many are remembered as can be."""
    advertiser = heard()
    sources = [ROUTER[:15] + bytes((number,)) for number in range(1, advert.OTHERS_MAX + 1)]
    for at, source in enumerate(sources):
        assert advertiser.hear(frame(source=source), False, 20000)
        assert not advertiser.hear(Unread(frame(source=sources[at // 2])), False, 20001)
    assert not advertiser.hear(Unread(frame(source=PHONE)), False, 20002)
    assert advertiser.others == sources


def case_what_a_prefixd_before_may_have_announced_is_taken_back_without_an_exit():
    advertiser = Advertiser(PREF64)
    advertiser.tell(False, 0)
    advertiser.hear(frame(), True, 0)
    for now_ms in (3000, 7000, 11000):
        advertiser.tell(False, now_ms)
        assert options_of(sent(advertiser, now_ms)[0]) == GONE
    advertiser.tell(True, 20000)
    assert options_of(sent(advertiser, 20000)[0]) == THERE


def case_what_a_prefixd_before_may_have_had_dhcp_and_dns_say_is_taken_back_at_once():
    path = "/tmp/prefixd-hook-%s" % "".join("%02x" % octet for octet in os.urandom(8))
    link = Advert(None, Clock(), "no-such-device", Advertiser(PREF64), "echo told >%s" % path)
    try:
        link.tick(0)
        with open(path) as file:
            assert file.read() == "told off\n"
        link.tell(True, 2000)
        link.tick(2000)
        with open(path) as file:
            assert file.read() == "told on fddd:1338:1338::c000:aa fddd:1338:1338::c000:ab\n"
    finally:
        (os.remove if hasattr(os, "remove") else os.unlink)(path)


def case_no_frame_breaks_it():
    good = frame(SOURCE_MAC_OPTION + RDNSS_OPTION)
    advertiser = heard()
    for end in range(len(good)):
        for is_ours in (True, False):
            advertiser.hear(good[:end], is_ours, 20000)
    for at in range(len(good)):
        advertiser.hear(good[:at] + b"\x00" + good[at + 1 :], True, 20000)
        advertiser.hear(good[:at] + b"\xff" + good[at + 1 :], True, 20000)
    for ours in sent(advertiser, 20000):
        assert options_of(ours)[:1] == b"\x26"
