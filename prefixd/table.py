# SPDX-License-Identifier: ISC
"""`prefixd --status`: what the prefixd that runs says about itself, for people. `render` is pure."""

import json
import sys
import time

from prefixd import net
from prefixd.routes import PER_ROUTER
from runtime import sockets
from runtime.text import duration, table

ROWS = 20  # PLATs shown; all of them are in --json
ENOENT, ECONNREFUSED = 2, 111
NOT_RUNNING, NO_ANSWER = 3, 4  # exit statuses, as of `service NAME status`: stopped, unknown
WITHDRAW_S = 10  # two advertisements, and what keeps them from those before
ANSWER_S = 10  # what prefixd may be busy for, with its hook


def render(status):
    """Return the lines of a table of the status (as the control socket gives it)."""
    if status["chosen"] is None:
        lines = ["PLAT      none: %s" % status["why"]]
    else:
        lines = ["PLAT      %s for %s" % (status["chosen"], duration(status["since_ms"] // 1000))]
        lines.append("why       %s" % status["why"])
    counts = status["babel_counts"]
    dropped = counts["malformed"] + counts["overlong"] + counts["full"]
    away = ", what it said before is kept for a while" if status["babel_away"] else ""
    told = (status.get("babel_daemon", "babeld"), status["babel"], away, counts["lines"], dropped)
    lines.append("%-9s %s%s (%d lines, %d dropped)" % told)
    if counts["crowded"]:
        lines.append("          some router has more than %d PLATs: the others are left out" % PER_ROUTER)
    counts = status["probe_counts"]
    dropped = counts["short"] + counts["foreign"] + counts["forged"]
    asked = (status["probes"], counts["sent"], counts["answered"], counts["refused"], dropped)
    lines.append("probes    %s (%d sent, %d answered, %d refused, %d others dropped)" % asked)
    lines.append("CLAT      %s; roaming daemon: %s" % (status["translator"], status["roaming"]))
    if status.get("hosts"):
        lines += _render_hosts(status["hosts"])
    if status["plats"]:
        lines += _render_plats(status["plats"])
    return lines


TOLD = {None: "nothing yet, no exit has answered", True: "PREF64", False: "that there is no PREF64"}


def _render_hosts(hosts):
    daemon = (
        "the node's own router advertisements not heard yet" if hosts["router"] is None else hosts["router"]
    )
    told = (TOLD[hosts["told"]], daemon, hosts["state"], hosts["sent"])
    lines = ["hosts     told %s; %s, %s (%d sent)" % told]
    if hosts.get("lifetime_s") == 0:
        lines.append(
            "          the node's own router advertisements have lifetime 0: hosts have no way to the prefix"
        )
    if hosts["others"]:
        lines.append("          others advertise themselves as routers too: " + ", ".join(hosts["others"]))
    return lines


def _render_plats(plats):
    plats = sorted(plats, key=lambda plat: (not plat["chosen"], plat["metric"], plat["prefix"]))
    rows = [("", "PLAT", "METRIC", "FROM", "NODE", "EXIT", "RTT", "STATE")]
    for plat in plats[:ROWS]:
        rows.append(_row(plat))
    lines = [""] + table(rows)
    if len(plats) > ROWS:
        lines.append("... and %d more" % (len(plats) - ROWS))
    return lines


def _row(plat):
    lane = plat["exit"] or plat["management"]
    rtt = "-" if lane is None or lane["rtt_ms"] is None else "%d ms" % lane["rtt_ms"]
    state = plat["state"] + (" (%s)" % plat["reason"] if plat["reason"] else "")
    mark = "*" if plat["chosen"] else ""
    come = "own" if plat["own"] else ("babel, old" if plat["stale"] else "babel")
    lanes = _describe_lane(plat["management"]), _describe_lane(plat["exit"])
    return (mark, plat["prefix"], "%d" % plat["metric"], come, lanes[0], lanes[1], rtt, state)


def _describe_lane(lane):
    if lane is None or lane["up"] is None:
        return "-"
    if lane["up"]:
        return "ok" if not lane["losses"] else "ok?"
    return "no"


class NotRunning(Exception):
    """Nothing listens."""


def fetch(path, word=b"status"):
    """Return the status line of the prefixd on this control socket, or what it answers; NotRunning, OSError."""
    try:
        return sockets.ask(path, word, ANSWER_S)
    except OSError as error:
        if sockets.error_number(error) in (ENOENT, ECONNREFUSED):
            raise NotRunning()  # noqa: B904  MicroPython has no "from"
        raise


def withdraw(path):
    """Have the prefixd that runs tell hosts to forget the prefix, and wait for that; return the exit status."""
    try:
        for _ in range(WITHDRAW_S * 4):
            said = fetch(path, b"withdraw")
            if said != b"wait\n":
                return 0 if said == b"told\n" else NO_ANSWER
            time.sleep(0.25)
    except NotRunning:
        return NOT_RUNNING
    except OSError:
        pass
    return NO_ANSWER


def show(path, is_json):
    """Print the status; return the exit status."""
    try:
        text = fetch(path)
        if not text:
            net.log("the prefixd on %s ended without an answer" % path)
            return NO_ANSWER
        if text[-3:] != b"]}\n":
            raise ValueError  # MicroPython before 1.26 takes half of a line of JSON for a whole one
        lines = render(json.loads(text))
    except NotRunning:
        net.log("no prefixd runs: nothing listens on %s" % path)
        return NOT_RUNNING
    except OSError as error:
        net.log("the prefixd on %s does not answer: %s" % (path, sockets.error_text(error)))
        return NO_ANSWER
    except (ValueError, KeyError, TypeError):
        net.log("what listens on %s is no prefixd" % path)
        return NO_ANSWER
    if is_json:
        sys.stdout.write(str(text, "utf-8"))
    else:
        print("\n".join(lines))
    return 0
