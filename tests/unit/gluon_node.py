# SPDX-License-Identifier: ISC
"""Gluon's side of the packages, for tests: its site checks and upgrade scripts, run on a site and a node's files.

Without more they run on stand-ins of ours (tests/gluon). With GLUON_TREE=/path/to/gluon in the environment the site
checks run under Gluon's own check-site.lua and validator.lua. With UCI_LUA=/folder (of a uci.so for this machine, which
finds libuci.so) and GLUON_PACKAGES=/path/to/packages (Gluon's feed) the upgrade scripts run on the real UCI.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sdk.openwrt.node import NO_PROGRAMS

ROOT = Path(__file__).resolve().parents[2]
STANDINS = ROOT / "tests/gluon"
SHARED = ROOT / "package/gluon-464xlat-common/luasrc/usr/lib/lua"
GLUON = os.environ.get("GLUON_TREE")
UCI_LUA, GLUON_PACKAGES = os.environ.get("UCI_LUA"), os.environ.get("GLUON_PACKAGES")
# the folder of the configuration, and at the end what Gluon's last upgrade script does
REAL_UCI = """
local uci = require 'uci'
local cursor = uci.cursor
uci.cursor = function() return cursor(os.getenv('UCI_DIR'), os.getenv('UCI_DIR') .. '/../delta') end
"""
COMMIT = (
    REAL_UCI
    + "for _, name in ipairs({'464xlat', 'dhcp', 'firewall', 'network'}) do uci.cursor():commit(name) end"
)
LUA = shutil.which("lua5.1")
NEEDS_LUA = pytest.mark.skipif(LUA is None, reason="no lua5.1: apt-get install lua5.1")
NEEDS_GLUON = pytest.mark.skipif(GLUON is None, reason="no Gluon: say GLUON_TREE=/path")

GOOD = {
    "prefix4": "10.46.0.0/16",
    "prefix6": "fd46:4646:4646::/64",
    "node_prefix6": "fd46:4646:4646:1::/64",
    "clat_range": "fddd:1337:1337::/48",
    "plat_range": "fddd:1338::/48",
    "next_node": {"ip4": "10.46.0.1"},
    "dns": {"servers": ["fd46:4646:4646:1::53"]},
}
ON_PURPOSE = {**GOOD, "plat": {"enabled": True, "limit_up_kbit": 5000, "limit_down_kbit": 20000}}
MISSING = object()


def lua(value) -> str:
    """A value as a Lua expression."""
    if isinstance(value, dict):
        return "{" + ",".join(f"[{lua(key)}]={lua(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ",".join(map(lua, value)) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    return '"' + value.replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)


def changed(path: str, value) -> dict:
    """GOOD with another value at a path of keys with dots between, or none."""
    site = {key: dict(item) if isinstance(item, dict) else item for key, item in GOOD.items()}
    *parents, last = path.split(".")
    table = site
    for key in parents:
        table = table.setdefault(key, {})
    table.pop(last, None)
    if value is not MISSING:
        table[last] = value
    return site


def check(root: Path, role: str | Path, site: dict | str, domain: dict | None = None) -> str:
    """Run a check_site.lua (by role or path) over a site (a dict, or a text in Lua); return what it says is wrong."""
    gluon = root / "lib/gluon"
    gluon.mkdir(parents=True, exist_ok=True)
    (gluon / "site.json").write_text(f"return {site if isinstance(site, str) else lua(site)}")
    if domain is not None:
        (gluon / "domains").mkdir(exist_ok=True)
        (gluon / "domains/one.json").write_text(f"return {lua(domain)}")
    script = role if isinstance(role, Path) else ROOT / f"package/gluon-464xlat-{role}/check_site.lua"
    program, path = STANDINS / "check-site.lua", [STANDINS / "lua", SHARED]
    if GLUON:
        program = Path(GLUON) / "package/gluon-core/luasrc/lib/gluon/check-site.lua"
        path.append(next(Path(GLUON).glob("package/*/luasrc/usr/lib/lua/gluon/validator.lua")).parents[1])
    done = subprocess.run(
        [LUA, str(program)],
        input=script.read_text(),
        env={
            "IPKG_INSTROOT": str(root),
            "PATH": os.environ["PATH"],
            "LUA_PATH": ";".join(f"{p}/?.lua" for p in path),
        },
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) == (done.stderr == ""), done.stderr
    return done.stderr


class Router:
    """A node's configuration files, and the upgrade scripts run on it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = folder / "config"
        self.config.mkdir()
        shutil.copy(ROOT / "files/464xlat/etc/config/464xlat", self.config)
        (self.config / "dhcp").write_text("config dnsmasq\n\toption domainneeded '1'\n")
        for name in ("firewall", "network"):
            (self.config / name).touch()
        self.environment = {
            "IPKG_INSTROOT": str(folder / "image"),
            "UCI_DIR": str(self.config),
            "SITE_FILE": str(folder / "site.lua"),
            "PRIMARY_MAC": "12:34:56:78:9a:bc",
            "LUA_PATH": f"{ROOT}/sdk/openwrt/lua/?.lua;{SHARED}/?.lua",
            "PATH": os.environ["PATH"],
        }
        self.before = NO_PROGRAMS
        if UCI_LUA and GLUON_PACKAGES:
            (folder / "delta").mkdir()
            real = f"{GLUON_PACKAGES}/libs/lua-simple-uci/src/?.lua"
            self.environment["LUA_PATH"] = f"{real};{self.environment['LUA_PATH']}"
            self.environment["LUA_CPATH"] = f"{UCI_LUA}/?.so"
            self.environment["LD_LIBRARY_PATH"] = os.environ.get("LD_LIBRARY_PATH", "")
            self.before += REAL_UCI

    def upgrade(
        self, site: dict = GOOD, roles: tuple[str, ...] = ("babel", "clat", "plat")
    ) -> dict[str, str]:
        """Run the roles' scripts in Gluon's order; return the files' texts."""
        (self.folder / "site.lua").write_text(f"return {lua(site)}")
        scripts = [
            path
            for role in ("common", *roles)
            for path in (ROOT / f"package/gluon-464xlat-{role}").glob("luasrc/**/upgrade/*")
        ]
        image = self.folder / "image/lib/gluon/upgrade"
        shutil.rmtree(image, ignore_errors=True)
        image.mkdir(parents=True)
        for script in sorted(scripts, key=lambda path: path.name):
            (image / script.name).touch()
        for script in sorted(scripts, key=lambda path: path.name):
            subprocess.run([LUA, "-e", self.before, str(script)], env=self.environment, check=True)
        self.commit()
        self.environment["GLUON_VERSION"] = "v2025.1.3"  # Gluon's last script notes what has been set up
        return {path.name: path.read_text() for path in self.config.iterdir()}

    def commit(self) -> None:
        """On the real UCI, which keeps what is saved beside the files."""
        if self.before != NO_PROGRAMS:
            subprocess.run([LUA, "-e", COMMIT], env=self.environment, check=True)

    def edit(self, section: str, option: str, old: str, new: str) -> None:
        """Change an option of /etc/config/464xlat, as an admin does."""
        config = self.config / "464xlat"
        head, mark, tail = config.read_text().partition(f"config {section} '{section}'\n")
        body, separator, rest = tail.partition("\nconfig ")
        assert f"\toption {option} '{old}'" in body
        body = body.replace(f"\toption {option} '{old}'", f"\toption {option} '{new}'")
        config.write_text(head + mark + body + separator + rest)

    def section(self, config: str, name: str) -> dict[str, str | list[str]]:
        """A section's options."""
        text = (self.config / config).read_text()
        body = re.search(rf"^config \w+ '{name}'\n(.*?)(?=^config |\Z)", text, re.M | re.S)
        options: dict = {}
        for kind, key, value in re.findall(r"^\t(option|list) (\w+) '(.*)'$", body[1] if body else "", re.M):
            if kind == "list":
                options.setdefault(key, []).append(value)
            else:
                options[key] = value
        return options


def content(texts: dict[str, str]) -> dict[str, list[list[str]]]:
    """What files say: the real UCI puts a list that it is given again behind its section's other options."""
    return {
        name: sorted(sorted(section.split("\n")) for section in text.strip().split("\n\n"))
        for name, text in texts.items()
    }
