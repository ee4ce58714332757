# SPDX-License-Identifier: ISC
"""Packages on a router in trouble: an upgrade that a power cut ends, a clock that still is in 1970."""

import contextlib
import re
import subprocess
from pathlib import Path

import pytest
from gluon_node import LUA, NEEDS_LUA, ROOT, Router, content

from l3roamd_py import leases

pytestmark = NEEDS_LUA
POWER_CUT = """
local cursor, saves = require('simple-uci'), 0
local made = cursor.cursor
cursor.cursor = function()
	local one = made()
	return setmetatable({ save = function(self, config)
		saves = saves + 1
		if saves > tonumber(os.getenv('SAVES')) then os.exit(9) end
		return one:save(config)
	end }, { __index = one })
end
"""
SCRIPTS = sorted(ROOT.glob("package/gluon-464xlat-*/luasrc/**/upgrade/*"), key=lambda path: path.name)


@contextlib.contextmanager
def power_cut(script: Path, saves: int, monkeypatch):
    """While it lasts, the power goes in an upgrade script once it has saved so many files: InterruptedError."""
    run = subprocess.run

    def run_until_the_cut(command, *, env, check):
        assert command[0] == LUA
        if command[-1].endswith(script.name):
            done = run([LUA, "-e", command[2] + POWER_CUT, command[-1]], env={**env, "SAVES": str(saves)})
            assert done.returncode == 9
            raise InterruptedError
        return run(command, env=env, check=check)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", run_until_the_cut)
        yield


def saved(script: Path) -> int:
    return len(re.findall(r"uci:save\(", script.read_text()))


@pytest.mark.parametrize(
    ("script", "saves"),
    [(script, saves) for script in SCRIPTS for saves in range(saved(script))],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_an_upgrade_that_broke_off_comes_to_the_same_when_it_is_run_again(
    tmp_path, monkeypatch, script, saves
):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = Router(tmp_path / "whole").upgrade()
    router = Router(tmp_path / "broken")
    with power_cut(script, saves, monkeypatch), pytest.raises(InterruptedError):
        router.upgrade()
    assert content(router.upgrade()) == content(whole)


def test_a_lease_of_1970_is_neither_over_nor_for_ever_once_the_clock_is_right():
    """A router without a clock counts from 1970 until it has heard of the time."""
    line = "3700 02:00:00:00:00:01 10.46.1.2 phone *"  # an hour, granted 100 s after the start
    for now_s in (200, 1_800_000_000):
        [lease] = leases.parse_file(line, now_s)
        assert 3600 <= lease.lease_s <= 3700


def test_nothing_else_of_ours_on_a_router_asks_what_time_it_is():
    """Timers go by the clock since the boot, so none of them minds when the time is set."""
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("prefixd", "l3roamd_py", "runtime", "siit", "nat46", "xlat464")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(
            r"\btime\.time\(|from time import .*\btime\b|\bdatetime\b|CLOCK_REALTIME", path.read_text()
        )
    }
    assert found == {"l3roamd_py/daemon.py"}  # dnsmasq's leases, as above
    scripts = [path for path in (ROOT / "files").rglob("*") if path.is_file() and "reach" not in path.parts]
    asking = [path for path in scripts if re.search(r"(^|[$(;] ?)date\b", path.read_text(), re.M)]
    # dnsmasq's leases again, of which one that was granted in 1970 is taken for a length; and a page for people
    assert {path.name for path in asking} == {"30-l3roamd-py", "page.sh"}
