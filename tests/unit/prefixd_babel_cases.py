# SPDX-License-Identifier: ISC

"""Cases of prefixd.babel: what its lines tell, wherever they are cut and whatever is wrong with them."""

from prefixd_plats import RANGE, A, B, C, plat

from prefixd.babel import BabelTable, find_words, parse_route
from prefixd.routes import INFINITY, LINGER_MS
from xlat464.address import parse_prefix6

GREETING = b"BABEL 1.0\nversion babeld-1.12.1\nhost lab\nmy-id 02:00:00:00:00:00:00:01\nok\n"


def line(number, metric, verb="add", installed="yes", route_id="564830143590", router="02:00"):
    text = "%s route %s prefix fddd:1337:1338:1:2:%x::/96 from ::/0 installed %s id %s metric %d refmetric 0"
    return ((text + " via fe80::1 if mesh0\n") % (verb, route_id, number, installed, router, metric)).encode()


def synced(lines=b"", now_ms=0):
    babel = BabelTable(RANGE)
    babel.start(0, 5000)
    babel.feed(GREETING, now_ms)
    babel.feed(lines + b"ok\n", now_ms)
    return babel


def events(babel, now_ms):
    return [e for e in babel.pop_events(now_ms) if e[0] == "metric" or e[2]]


def case_a_route_in_the_range_is_a_plat_wherever_the_bytes_are_cut():
    whole = GREETING + line(1, 96) + line(2, 256) + b"ok\n" + line(1, 128, "change")
    for cut in range(len(whole)):
        babel = BabelTable(RANGE)
        babel.feed(whole[:cut], 0)
        babel.feed(whole[cut:], 0)
        assert babel.metrics == {A: 128, B: 256}, cut
        assert babel.counts["malformed"] == 0
    babel = BabelTable(RANGE)
    for i in range(len(whole)):
        babel.feed(whole[i : i + 1], 0)
    assert babel.metrics == {A: 128, B: 256}


def case_only_installed_96_routes_for_all_sources_count():
    other = (
        b"add route 1 prefix fddd:1337:1339:1:2:3::/96 from ::/0 installed yes id x metric 1 refmetric 0\n"
    )
    longer = b"add route 1 prefix fddd:1337:1338:1:2:3:c000:1/128 from ::/0 installed yes id x metric 1\n"
    source = b"add route 1 prefix fddd:1337:1338:1:2:3::/96 from fd00::/8 installed yes id x metric 1\n"
    babel = synced(other + longer + source + line(1, 96, installed="no") + line(2, INFINITY))
    assert babel.metrics == {}
    assert babel.counts["malformed"] == 0


def case_a_handover_between_two_neighbours_is_no_loss():
    babel = synced(line(1, 96))
    assert events(babel, 0) == [("metric", A, 96)]
    babel.feed(line(1, 96, "change", "no"), 1000)
    assert events(babel, 1000 + LINGER_MS - 1) == []
    babel.feed(line(1, 120, "change", route_id="beef"), 1050)
    assert events(babel, 2000) == [("metric", A, 120)]
    babel.feed(line(1, 96, "flush", "no"), 2000)  # the old neighbour's, not in use any more
    assert events(babel, 3000) == []


def case_a_flushed_or_retracted_route_is_lost_after_the_linger_time():
    for verb, metric in (("flush", 96), ("change", INFINITY)):
        babel = synced(line(1, 96))
        events(babel, 0)
        babel.feed(line(1, metric, verb), 1000)
        assert babel.deadline_ms() == 1000 + LINGER_MS
        assert not babel.has_events(1000)
        assert events(babel, 1000 + LINGER_MS) == [("metric", A, INFINITY)]


def case_an_xroute_in_the_range_is_the_nodes_own_plat():
    xroute = b"%s xroute fddd:1337:1338:1:2:1::/96-::/0 prefix fddd:1337:1338:1:2:1::/96 from ::/0 metric 0\n"
    babel = synced(xroute % b"add")
    assert ("own", A, True) in list(babel.pop_events(0))
    babel.feed(xroute % b"flush", 10)
    assert ("own", A, False) in list(babel.pop_events(10))


def case_malformed_lines_are_counted_and_change_nothing():
    good = line(1, 96)
    bad = (
        good.replace(b"metric 96", b"metric -1"),
        good.replace(b"metric 96", b"metric 65536"),
        good.replace(b"metric 96", b"metric 9_6"),
        good.replace(b"metric 96", b"metric"),
        good.replace(b"installed yes", b"installed maybe"),
        good.replace(b"installed yes ", b""),
        good.replace(b"564830143590", b"0x1"),
        good.replace(b"564830143590", b"-1"),
        good.replace(b"564830143590", b"f" * 17),
        good.replace(b"::/96", b"::/196"),
        good.replace(b"::/96", b"::1/96"),
        good.replace(b"::/96", b":::/96"),
        good.replace(b"from ::/0", b"from ::/0 metric 1"),
        good.replace(b"add route", b"add roast"),
        good.replace(b"if mesh0", b"if"),
        good.replace(b"mesh0", b"\xff\xfe"),
        b"nonsense\n",
        b"\0\n",
    )
    for text in bad:
        babel = synced(text)
        assert babel.metrics == {}, text
        assert babel.counts["malformed"] == 1, text
        assert babel.is_synced and babel.error is None


def case_a_line_without_end_takes_no_memory():
    babel = synced()
    for _ in range(1000):
        babel.feed(b"add route " * 40, 0)
    assert len(babel._partial) <= 512
    babel.feed(b"\n" + line(1, 96), 0)
    assert babel.metrics == {A: 96}
    assert babel.counts["overlong"] == 1
    babel.feed(b"x" * 600 + b"\n" + line(2, 96), 0)
    assert babel.counts["overlong"] == 2 and B in babel.metrics


def case_what_is_no_babeld_is_recognized():
    babel = BabelTable(RANGE)
    babel.feed(b"220 mail.example ESMTP\n", 0)
    assert babel.error is not None
    babel = synced()
    babel.is_synced = False
    babel.feed(b"bad\n", 0)
    assert babel.error is not None


def case_a_new_babeld_may_take_its_time_and_then_the_rest_is_dropped():
    babel = synced(line(1, 96) + line(2, 256))
    events(babel, 0)
    assert not babel.is_away(0)
    babel.disconnect(1000)
    assert babel.is_away(1000) and babel.stale == {A: True, B: True}
    babel.feed(GREETING + b"ok\n", 3000)
    assert babel.is_away(3000) and events(babel, 3000) == []
    babel.feed(line(1, 97), 9000)
    assert events(babel, 9000) == [("metric", A, 97)]
    assert events(babel, 31000) == [("metric", B, INFINITY)]
    assert not babel.is_away(31000) and babel.stale == {}


def case_the_own_plat_stays_when_babeld_does_not_come_back():
    babel = BabelTable(RANGE, own=C)
    babel.start(0, 5000)
    assert ("own", C, True) in list(babel.pop_events(0))
    babel.feed(GREETING + line(1, 96) + b"ok\n", 0)
    babel.disconnect(0)
    told = list(babel.pop_events(60000))
    assert ("metric", A, INFINITY) in told and C in babel.own


def case_the_cheap_test_finds_every_text_of_a_prefix_in_the_range():
    for text, words in (
        ("fddd:1337:1338::/48", b" prefix fddd:1337:1338:"),
        ("64:ff9b:1::/48", b" prefix 64:ff9b:1:"),
        ("2001:db8::/48", b" prefix 2001:db8:"),
        ("fddd::/48", b" prefix fddd:"),
        ("::/48", b" prefix "),
        ("0:0:1::/48", b" prefix "),
    ):
        assert find_words(parse_prefix6(text)[0]) == words, text
    found = parse_route(line(1, 96), RANGE, 48)
    assert found == ("route", 0x564830143590, A, 96, "02:00")


def case_of_one_router_only_a_few_plats_are_taken_and_of_others_no_fewer():
    babel = synced()
    for number in range(0x1000, 0x1258):
        babel.feed(line(number, 96, router="02:bad"), 0)
    babel.feed(line(1, 500) + line(2, 600, router="02:01"), 0)
    assert len(babel.metrics) == 6 and babel.metrics[A] == 500 and babel.metrics[B] == 600
    assert babel.counts["crowded"] == 596 and babel.counts["malformed"] == 0
    # what is there is told on, whatever there is beside it, and makes room when it goes
    babel.feed(line(0x1000, 97, "change", router="02:bad") + line(0x1240, 97, "change", router="02:bad"), 1)
    assert babel.metrics[plat(0x1000)] == 97 and plat(0x1240) not in babel.metrics
    babel.feed(line(0x1001, 96, "flush", router="02:bad"), 2)
    events(babel, 2 + LINGER_MS)
    babel.feed(line(0x1240, 97, "change", router="02:bad") + line(0x1241, 97, "change", router="02:bad"), 200)
    assert plat(0x1240) in babel.metrics and plat(0x1241) not in babel.metrics
    assert len(babel.metrics) == 6


def case_a_plat_that_another_router_announces_too_stays_and_counts_for_that_one():
    babel = synced()
    for number in range(4, 8):
        babel.feed(line(number, 96, router="02:02"), 0)
    babel.feed(line(1, 500) + line(1, 400, "change", router="02:02"), 0)
    assert babel.metrics[A] == 400
    for number in range(8, 13):
        babel.feed(line(number, 96), 0)  # nothing of the first one's is left
    assert len(babel.metrics) == 9
    for number in range(1, 13):
        babel.feed(line(number, 96, "flush"), 1)
    events(babel, 1 + LINGER_MS)
    assert babel.metrics == {} and babel._routers == {} and babel._origins == {}
