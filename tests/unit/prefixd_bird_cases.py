# SPDX-License-Identifier: ISC

"""Cases of prefixd.bird: what BIRD's answers tell, wherever they are cut and whatever is wrong with them."""

from prefixd_plats import RANGE, A, B, plat

from prefixd.bird import ASK_MS, BirdTable, parse_route
from prefixd.routes import INFINITY, LINGER_MS, PER_ROUTER

GREETING = b"0001 BIRD 2.0.12 ready.\n"
QUESTION = b"show route table all primary where source = RTS_BABEL && net ~ [fddd:1337:1338::/48{96,96}]\n"
END = b"0000 \n"


def line(number, metric, router="a4:33:60:a2:78:b2:44:56", kind="unicast", flag="*", length=96):
    text = "fddd:1337:1338:1:2:%x::/%d %s [mesh 11:57:19.971] %s (130/%d) [%s]\n"
    return (text % (number, length, kind, flag, metric, router)).encode()


def answer(*routes):
    """An answer as BIRD gives it: the first line of each code with the code, the others with a blank."""
    return b"1007-Table master6:\n" + b"".join(b" " + r + b" \tvia fe80::1 on a\n" for r in routes) + END


def asked(routes=(), now_ms=0):
    bird = BirdTable(RANGE)
    bird.start(0, 5000)
    bird.connect()
    bird.feed(GREETING, now_ms)
    assert bird.question(now_ms) == QUESTION and bird.question(now_ms) is None
    bird.feed(answer(*routes), now_ms)
    return bird


def events(bird, now_ms):
    return [e for e in bird.pop_events(now_ms) if e[0] == "metric" or e[2]]


def case_a_route_that_bird_uses_is_a_plat_wherever_the_bytes_are_cut():
    whole = answer(line(1, 96), line(2, 256))
    for cut in range(len(whole)):
        bird = BirdTable(RANGE)
        bird.connect()
        bird.feed(GREETING, 0)
        bird.question(0)
        bird.feed(whole[:cut], 0)
        bird.feed(whole[cut:], 0)
        assert bird.metrics == {A: 96, B: 256} and bird.is_synced, cut
        assert bird.counts["malformed"] == 0


def case_what_is_retracted_or_not_in_use_or_no_96_is_no_plat():
    none = line(1, 96, kind="unreachable"), line(1, 96, flag="!"), line(1, INFINITY), line(2, 96, length=95)
    bird = asked(none + (b"fddd:1337:1338:1:2:1::/96 unicast [kernel6 11:57:17.770] * (10)\n",))
    assert bird.metrics == {} and bird.counts["malformed"] == 0
    # one with a source prefix is another prefix than its destination's
    assert (
        parse_route(b"fddd:1337:1338:1:2:1::/96 from fd00::/8 unicast [m 11:57:19] * (130/9) [a]", RANGE, 48)
        is None
    )
    assert asked([line(1, 96, kind="unreachable"), line(1, 200)]).metrics == {A: 200}


def case_what_an_answer_leaves_out_has_lost_its_route_after_the_linger_time():
    bird = asked([line(1, 96), line(2, 256)])
    assert sorted(events(bird, 0)) == [("metric", A, 96), ("metric", B, 256)]
    assert bird.question(ASK_MS - 1) is None and bird.question_ms == ASK_MS
    assert bird.question(ASK_MS) == QUESTION
    bird.feed(answer(line(2, 300)), ASK_MS)
    assert events(bird, ASK_MS) == [("metric", B, 300)]
    assert events(bird, ASK_MS + LINGER_MS) == [("metric", A, INFINITY)]
    bird.question(2 * ASK_MS)
    bird.feed(answer(line(1, 96), line(2, 300)), 2 * ASK_MS)
    assert events(bird, 2 * ASK_MS) == [("metric", A, 96)]


def case_who_takes_long_is_asked_seldomer_and_half_an_answer_loses_nothing():
    bird = asked([line(1, 96)])
    bird.question(1000)
    bird.feed(answer(line(1, 96))[:-6], 1900)
    assert bird.is_waiting and bird.question(9000) is None
    bird.feed(END, 2000)
    assert bird.question_ms == 6000 and not bird.is_waiting
    bird.question(6000)
    bird.feed(b"1007-Table master6:\n", 6000)
    bird.disconnect(6100)
    assert bird.metrics == {A: 96} and bird.is_away(6100)


def case_an_interrupted_answer_loses_nothing_and_an_empty_one_does():
    for end, left in (
        (b"8004 Stopped due to reconfiguration\n", {A: 96}),
        (b"8001 Network not found\n", {}),
        (END, {}),
    ):
        bird = asked([line(1, 96)])
        events(bird, 0)
        bird.question(ASK_MS)
        bird.feed(b"1007-Table master6:\n" + end, ASK_MS)
        assert not bird.is_waiting and bird.question_ms == 2 * ASK_MS and bird.error is None
        events(bird, 1500)
        assert bird.metrics == left, end


def case_another_bird_may_take_its_time_and_then_the_rest_is_dropped():
    bird = asked([line(1, 96), line(2, 96)])
    events(bird, 0)
    bird.disconnect(1000)
    bird.connect()
    bird.feed(GREETING, 2000)
    bird.question(2000)
    bird.feed(answer(line(1, 96)), 2000)
    assert events(bird, 2000) == [] and bird.is_away(2000)
    assert events(bird, 31000) == [("metric", B, INFINITY)] and not bird.is_away(31000)


def case_no_bird_and_one_that_refuses_are_said():
    for text, word in (
        (b"BABEL 1.0\n", "greet"),
        (GREETING, None),
        (GREETING + b"9001 syntax error\n", "refuses"),
    ):
        bird = BirdTable(RANGE)
        bird.connect()
        bird.feed(text[: len(GREETING)], 0)
        if bird.error is None:
            bird.question(0)
        bird.feed(text[len(GREETING) :], 0)
        assert (bird.error is None) == (word is None) and (word is None or word in bird.error), (
            text,
            bird.error,
        )


def case_garbage_of_bird_is_counted_and_changes_nothing():
    bird = asked([line(1, 96)])
    bird.question(ASK_MS)
    bad = (
        line(2, 70000),
        line(2, 5).replace(b"[a4", b"(a4"),
        line(2, 5).replace(b"fddd", b"fdd\xff"),
        b"x::/96 unicast a * (1/2) [b]\n",
    )
    bird.feed(answer(line(1, 96), *bad), ASK_MS)
    bird.feed(b"x" * 600 + b"\n" + b"what\n", ASK_MS)
    assert bird.metrics == {A: 96}
    assert bird.counts["malformed"] == len(bad) + 1 and bird.counts["overlong"] == 1


def case_of_one_router_of_birds_only_a_few_plats_are_taken():
    bird = asked([line(number, 96, router="aa") for number in range(1, 20)] + [line(30, 96, router="bb")])
    assert len(bird.metrics) == PER_ROUTER + 1 and plat(30) in bird.metrics
