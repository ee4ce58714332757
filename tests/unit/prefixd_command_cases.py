# SPDX-License-Identifier: ISC

"""Cases of prefixd's command line: what options it takes, and what --status shows."""

from prefixd_plats import RANGE

from prefixd import options, table

GOOD_OPTIONS = (
    "--plat-range fddd:1337:1338::/48 --clat clat --target /run/siit/control.sock"
    " --source fddd:1337:1337:1234:5678:9abc:c000:1"
).split()


def case_good_options_are_taken():
    found = options.parse(GOOD_OPTIONS + ["--probe-ipv4", "9.9.9.9,1.1.1.1", "--probe-ipv4=8.8.8.8"])
    assert found["plat_range"] == RANGE and len(found["probe_ipv4"]) == 3
    assert found["babel"] == ("inet6", bytes(15) + b"\x01", 33123)
    assert (found["margin"], found["hold_s"], found["probe_interval_ms"]) == (64, 10, 500)
    assert options.parse(["--status", "--json"]) == {
        "status": True,
        "json": True,
        "socket": "/run/prefixd.sock",
    }
    assert options.parse(["--help"]) == {"help": True}
    assert options.parse(GOOD_OPTIONS + ["--babel", "/run/babel"])["babel"] == ("unix", "/run/babel")


def case_what_hosts_are_told_has_a_prefix_and_a_device():
    words = "--pref64 64:ff9b::/96 --client-device br-client --dns6 2001:db8::53,198.51.100.53 --dns6 node".split()
    found = options.parse(GOOD_OPTIONS + words + ["--link-mtu", "1374", "--hosts-hook", "true"])
    assert (
        found["pref64"] == bytes((0, 0x64, 0xFF, 0x9B)) + bytes(12) and found["client_device"] == "br-client"
    )
    assert [len(server) for server in found["dns6"]] == [16, 4, 0]
    assert (found["link_mtu"], found["announce"], found["hosts_hook"]) == (1374, "on", "true")
    assert options.parse(GOOD_OPTIONS)["pref64"] is None


def case_each_bad_option_is_refused_with_one_sentence():
    for bad, word in (
        ("--margin x", "--margin"),
        ("--margin -1", "--margin"),
        ("--margin 65536", "--margin"),
        ("--hold-s 1.5", "--hold-s"),
        ("--probe-interval-ms 5", "--probe-interval-ms"),
        ("--probe-ipv4 1.2.3", "--probe-ipv4"),
        ("--probe-ipv4 127.0.0.1", "--probe-ipv4"),
        ("--own-plat fddd:1:2:3:4:5::/96", "plat range"),
        ("--own-plat fddd:1337:1338::/64", "/96"),
        ("--babel localhost:33123", "--babel"),
        ("--babel [::1]:0", "--babel"),
        ("--clat clat", "twice"),
        ("--nonsense 1", "--nonsense"),
        ("extra", "extra"),
        ("--hook", "--hook"),
        ("--json", "--status"),
        ("--status", "--status"),
        ("--socket " + "/x" * 60, "--socket"),
        ("--pref64 64:ff9b::/64 --client-device br", "/96"),
        ("--pref64 64:ff9b::/96", "--client-device"),
        ("--announce on", "--pref64"),
        ("--pref64 64:ff9b::/96 --client-device br --announce yes", "--announce"),
        ("--pref64 64:ff9b::/96 --client-device br --dns6 x", "--dns6"),
        ("--pref64 64:ff9b::/96 --client-device br --dns6 1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4", "at most 3"),
        ("--pref64 64:ff9b::/96 --client-device br --link-mtu 1279", "--link-mtu"),
    ):
        try:
            options.parse(GOOD_OPTIONS + bad.split(" "))
        except options.UsageError as error:
            assert word in str(error) and "\n" not in str(error), str(error)
        else:
            raise AssertionError(bad)
    for name, text in (
        ("--plat-range", "fddd::/47"),
        ("--clat", "a/b"),
        ("--clat", "a b"),
        ("--clat", "x" * 16),
        ("--source", "1.2.3.4"),
        ("--target", ""),
    ):
        arguments = list(GOOD_OPTIONS)
        arguments[arguments.index(name) + 1] = text
        try:
            options.parse(arguments)
        except options.UsageError as error:
            assert name in str(error), str(error)
        else:
            raise AssertionError(name)
    for i in range(0, len(GOOD_OPTIONS), 2):
        try:
            options.parse(GOOD_OPTIONS[:i] + GOOD_OPTIONS[i + 2 :])
        except options.UsageError as error:
            assert "missing" in str(error)
        else:
            raise AssertionError(GOOD_OPTIONS[i])


def case_the_table_names_the_chosen_plat_first():
    lane = {"up": True, "rtt_ms": 12, "losses": 0}
    plat_b = {"prefix": "b::/96", "metric": 500, "own": False, "stale": False, "chosen": True}
    plat_b.update({"state": "good", "reason": "", "management": lane, "exit": lane})
    plat_a = dict(plat_b)
    plat_a.update({"prefix": "a::/96", "metric": 100, "chosen": False, "exit": None})
    plat_a.update({"state": "down", "reason": "no route"})
    status = {
        "chosen": "b::/96",
        "why": "because",
        "since_ms": 150000,
        "translator": "set",
        "roaming": "none",
    }
    status.update({"babel": "connected", "babel_away": False, "probes": "open"})
    status["babel_counts"] = {"lines": 5, "malformed": 1, "overlong": 0, "full": 0, "crowded": 0}
    status["probe_counts"] = {"sent": 1, "answered": 1, "refused": 0, "short": 0, "foreign": 0, "forged": 0}
    status["plats"] = [plat_a, plat_b] + [plat_a] * 40
    lines = table.render(status)
    assert lines[0] == "PLAT      b::/96 for 2 min" and lines[1] == "why       because"
    rows = [text for text in lines if "::/96 " in text][1:]
    assert rows[0].startswith("*  b::/96  500") and "12 ms" in rows[0] and "down (no route)" in rows[1]
    assert lines[-1] == "... and 22 more"
    assert "others are left out" not in "".join(lines)
    status["babel_counts"]["crowded"] = 596
    assert "has more than 4 PLATs: the others are left out" in "".join(table.render(status))
    status["chosen"] = None
    assert table.render(status)[0] == "PLAT      none: because"
