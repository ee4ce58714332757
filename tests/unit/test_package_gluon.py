# SPDX-License-Identifier: ISC
"""Gluon's side of the packages: check_site.lua refuses what is wrong, upgrade scripts come to one result.

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

from sdk.lab.site import load_site
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
pytestmark = pytest.mark.skipif(LUA is None, reason="no lua5.1: apt-get install lua5.1")

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
OF_A_DOMAIN = ("clat_range", "plat_range", "prefix4", "next_node")
MISSING = object()
# what Gluon makes of a site's image-customization.lua: packages, for a device's class on a target
IMAGE = """
local lib, site, board, class, features = dofile('scripts/image_customization_lib.lua'), ...
lib.init({ GLUON_SITEDIR = site, BOARD = board, SUBTARGET = '64' })
local chosen = lib.get_selections({ image = 'some-device', options = { class = class } })
local files = { 'package/features', features }
for _, name in ipairs(dofile('scripts/feature_lib.lua').get_packages(files, chosen.features)) do
	print(name)
end
print(table.concat(chosen.packages, '\\n'))
"""


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


@pytest.mark.parametrize("role", ["clat", "plat", "babel"])
def test_a_site_with_two_ranges_is_all_that_a_role_needs(tmp_path, role):
    assert check(tmp_path, role, GOOD) == ""


@pytest.mark.parametrize("role", ["clat", "plat", "babel"])
def test_the_example_of_the_docs_is_a_good_site(tmp_path, role):
    example = ROOT / "docs/site-example/site.conf"
    assert check(tmp_path, role, example.read_text()) == ""
    assert str(load_site(example).clat_range) == "fddd:1337:1337::/48"


@pytest.mark.skipif(GLUON is None, reason="no Gluon: say GLUON_TREE=/path")
def test_the_example_is_a_good_site_for_all_of_gluon_that_it_selects(tmp_path):
    example = ROOT / "docs/site-example"
    selected = (example / "image-customization.lua").read_text() + (ROOT / "features").read_text()
    words = set(re.findall(r"'([\w-]+)',", selected))
    names = {"gluon-core", "gluon-mesh-layer3-common", "gluon-setup-mode"} | words
    names |= {f"gluon-{word}" for word in words} | {"gluon-config-mode-contact-info", "gluon-web-wifi-config"}
    checks = [path for path in Path(GLUON).glob("package/*/check_site.lua") if path.parent.name in names]
    assert {"gluon-core", "gluon-autoupdater", "gluon-radvd"} <= {path.parent.name for path in checks}
    for number, path in enumerate(checks):
        assert check(tmp_path / str(number), path, (example / "site.conf").read_text()) == ""


@pytest.mark.skipif(GLUON is None, reason="no Gluon: say GLUON_TREE=/path")
@pytest.mark.parametrize(("board", "device"), [("x86", "standard"), ("ath79", "standard"), ("ath79", "tiny")])
def test_the_images_of_the_example_are_of_packages_that_there_are(tmp_path, board, device):
    (tmp_path / "image.lua").write_text(IMAGE)
    example, features = str(ROOT / "docs/site-example"), str(ROOT / "features")
    command = [LUA, str(tmp_path / "image.lua"), example, board, device, features]
    names = subprocess.run(command, cwd=GLUON, capture_output=True, text=True, check=True).stdout.split()
    there = {path.parent.name for tree in (Path(GLUON), ROOT) for path in tree.glob("package/*/Makefile")}
    assert {name for name in names if name.startswith("gluon-")} <= there
    assert {"gluon-464xlat-babel", "gluon-464xlat-clat", "gluon-client-bridge", "gluon-radvd"} <= set(names)
    for name in ("gluon-464xlat-plat", "gluon-config-mode-464xlat-plat"):
        assert (name in names) == (device != "tiny")
    assert ("l3roamd-py" in names) == (board == "x86")


def test_each_feature_stands_for_packages_that_there_are():
    """Gluon's own gluon-client-bridge and gluon-radvd beside ours."""
    defined = (
        "feature = function(_, names) for _, each in ipairs(names) do print(each) end end "
        "when, _ = feature, function() return true end "
    )
    file = (ROOT / "features").read_text()
    done = subprocess.run([LUA, "-"], input=defined + "\n" + file, capture_output=True, text=True, check=True)
    there = {path.parent.name for path in ROOT.glob("package/*/Makefile")}
    assert set(done.stdout.split()) - {"gluon-client-bridge", "gluon-radvd"} <= there


@pytest.mark.parametrize("role", ["clat", "plat"])
def test_the_docs_name_every_key_that_is_checked(role):
    page = (ROOT / f"docs/package/gluon-464xlat-{role}.rst").read_text()
    for script in (
        f"gluon-464xlat-{role}/check_site.lua",
        "gluon-464xlat-common/luasrc/usr/lib/lua/gluon/xlat464_site.lua",
    ):
        for path in re.findall(r"\{(('\w+'(, )?)+)\}[,)]", (ROOT / "package" / script).read_text()):
            keys = re.findall(r"\w+", path[0])
            if keys[0] not in ("required", "auto", "wan"):
                assert ".".join(keys) in page


def entry(page: str, key: str) -> str:
    """What a page tells of a key of site.conf."""
    found = re.search(rf"^{re.escape(key)} \\: \w+\n((?:    .*\n)+)", page, re.M)
    assert found, f"{key} has no entry"
    return found[1]


def test_the_docs_name_the_defaults_that_the_upgrade_scripts_take():
    page = "".join((ROOT / f"docs/package/gluon-464xlat-{role}.rst").read_text() for role in ("clat", "plat"))
    scripts = [*ROOT.glob("package/*/luasrc/lib/gluon/upgrade/*"), SHARED / "gluon/xlat464.lua"]
    found = dict(re.findall(r"\bsite\.([\w.]+)\(([^(){}]+)\)", "".join(path.read_text() for path in scripts)))
    assert {"clat.margin", "plat.uplink", "roam_auth", "mesh_vpn.mtu"} <= set(found)
    for key, default in found.items():
        assert f"defaults to ``{default}``" in entry(page, key), key


def options_read() -> set[str]:
    """SECTION.OPTION of /etc/config/464xlat, as our scripts on a router read them."""
    found = set()
    library = ROOT / "files/464xlat/lib/464xlat"
    for file in (*ROOT.glob("files/*/etc/init.d/*"), library / "supervise.sh", library / "wan.sh"):
        text = re.sub(r"#.*", "", file.read_text())
        for section, option in re.findall(
            r"(?:config_get(?:_bool)? \w+|add_option|add_list|config_list_foreach) (\S+) (\w+)", text
        ):
            sections = ("clat", "plat") if "role" in section else (section,)
            found |= {f"{name}.{option}" for name in sections}
        for options in re.findall(r"for key in ([\w ]+); do\n\t+config_get value prefixd", text):
            found |= {f"prefixd.{option}" for option in options.split()}
        found |= {f"siit.{option}" for option in re.findall(r"^\tpass (\w+) ", text, re.M)}
    return found


def options_explained() -> set[str]:
    """SECTION.OPTION that /etc/config/464xlat as installed tells of."""
    explained, section = set(), ""
    for line in (ROOT / "files/464xlat/etc/config/464xlat").read_text().splitlines():
        if words := re.match(r"config \w+ '(\w+)'", line):
            section = words[1]
        elif words := re.match(r"\t#?(?:option|list) (\w+)", line):
            explained.add(f"{section}.{words[1]}")
    return explained


def test_the_configuration_file_explains_every_option_that_is_read_and_no_other():
    assert options_explained() == options_read()


def test_the_options_that_docs_set_are_there():
    said = {
        f"{section}.{option}"
        for page in ROOT.glob("docs/**/*.rst")
        for section, option in re.findall(r"\b464xlat\.(\w+)\.(\w+)", page.read_text())
    }
    assert {"node.clat_range", "plat.enabled"} <= said <= options_explained()


@pytest.mark.parametrize(
    ("role", "path", "value"),
    [
        ("clat", "clat.margin", 0),
        ("clat", "clat.hold_s", 86400),
        ("clat", "clat.probe_ipv4", ["9.9.9.9", "1.1.1.1"]),
        ("clat", "clat.dns", ["9.9.9.9"]),
        ("clat", "roam_auth", "off"),
        ("clat", "roam_auth", "required"),
        ("plat", "rule_backend", "xtables"),
        ("plat", "plat.pool", "192.0.2.0/28"),
        ("plat", "plat.ports", "1024-65535"),
        ("plat", "plat.engine", "jool"),
        ("plat", "plat.uplink", "reach"),
        *(("plat", "plat.enabled", value) for value in (True, False)),
        *(("plat", f"plat.limit_{way}_kbit", value) for way in ("up", "down") for value in (0, 64, 10000000)),
        ("plat", "plat_range", "2001:db8:1::/48"),
    ],
)
def test_what_is_optional_may_be_said(tmp_path, role, path, value):
    assert check(tmp_path, role, changed(path, value)) == ""


@pytest.mark.parametrize("role", ["clat", "plat"])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(
            ("clat_range", value)
            for value in (MISSING, 48, "", "fddd::", "fddd::/47", "fddd:1:2:3::/48", "10.0.0.0/8")
        ),
        *(
            ("clat_range", value)
            for value in ("fddd:1::2/48", "fddd:12345::/48", ":1::/48", "ff02:1::/48", "fe80::/48")
        ),
        *(
            ("clat_range", value)
            for value in ("::/48", "0:0:0::/48", "fddd:g::/48", "fddd:1:::/48", " fddd::/48")
        ),
        *(("plat_range", value) for value in (MISSING, {}, "fddd:1338:1338::/64", "fddd:1337:1337::/48")),
        *(
            ("prefix4", value)
            for value in (MISSING, 4, "10.46.0.0", "10.46.0.0/7", "10.46.0.0/29", "10.46.0.256/16")
        ),
        # what a node would refuse, and what addresses of other use would be lost to
        *(
            ("prefix4", value)
            for value in ("10.46.1.0/16", "010.46.0.0/16", "10.46.0.0/08", "127.0.0.0/8", "224.0.0.0/8")
        ),
        *(("prefix6", value) for value in ("fddd:1337:1337:5::/64", "fddd:1338::/32", "FDDD:1338:0:1::/64")),
        ("node_prefix6", "fddd:1337:1337:5::/64"),
        ("extra_prefixes6", ["fd01::/64", "fddd:1337:1337:5::/64"]),
        *(("mesh_vpn.mtu", value) for value in (1279, 1374.5, "1374")),
        *(("roam_auth", value) for value in (True, "on", "", "token")),
        *(("rule_backend", value) for value in ("iptables", 1)),
    ],
)
def test_a_wrong_site_is_refused_and_the_key_named(tmp_path, role, path, value):
    assert path in check(tmp_path, role, changed(path, value))


@pytest.mark.parametrize(
    ("role", "path", "value"),
    [
        *(
            ("clat", "next_node.ip4", value)
            for value in (MISSING, "10.47.0.1", "10.46.0.0", "10.46.255.255", "x")
        ),
        *(("clat", "clat.margin", value) for value in ("64", -1, 65536, 64.5, False)),
        ("clat", "clat", "x"),
        ("clat", "clat.margn", 64),
        ("plat", "plat.port", "1024-65535"),
        *(("clat", "clat.dns", value) for value in (["0.0.0.0"], ["9.9.9.009"])),
        *(("clat", "clat.hold_s", value) for value in ("10", -1, 86401)),
        ("clat", "clat.probe_interval_ms", 99),
        ("clat", "clat.lease_s", 119),
        *(
            ("clat", "clat.probe_ipv4", value)
            for value in (
                "9.9.9.9",
                ["9.9.9.256"],
                ["::1"],
                ["1.1.1.1"] * 9,
                [],
                ["10.46.0.9"],
                ["224.0.0.1"],
            )
        ),
        ("clat", "clat.dns", [9]),
        *(
            ("plat", "plat.pool", value)
            for value in (1, "10.46.1.0/24", "10.0.0.0/8", "192.0.2.1/24", "0.0.0.0/0", "a/8", "127.0.0.0/24")
        ),
        *(("plat", "plat.pool", value) for value in ("192.0.0.8/29", False)),
        *(("plat", "plat.engine", value) for value in ("tayga", True)),
        *(("plat", "plat.enabled", value) for value in (1, "1", "yes")),
        *(
            ("plat", f"plat.limit_{way}_kbit", value)
            for way in ("up", "down")
            for value in (-1, 63, 64.5, 10000001, "8000", True)
        ),
        *(("plat", "plat.uplink", value) for value in ("wg0", False, ["reach"])),
        *(
            ("plat", "plat.ports", value)
            for value in (1024, "1024", "0-9", "01-9", "9-8", "1-65536", "1-2-3")
        ),
    ],
)
def test_a_wrong_value_of_one_role_is_refused_and_the_key_named(tmp_path, role, path, value):
    assert path in check(tmp_path, role, changed(path, value))


def test_clients_need_somebody_to_ask_for_names(tmp_path):
    """Gluon lets clients ask a node only in a site that says whom nodes ask."""
    nobody = {key: value for key, value in GOOD.items() if key != "dns"}
    assert "clat.dns" in check(tmp_path, "clat", nobody)
    assert "clat.dns" in check(tmp_path, "clat", {**nobody, "dns": {"servers": []}})
    assert check(tmp_path, "clat", {**nobody, "clat": {"dns": ["9.9.9.9"]}}) == ""
    assert check(tmp_path, "plat", nobody) == ""


def test_a_default_that_does_not_fit_the_site_is_refused_as_well(tmp_path):
    site = changed("prefix4", "192.168.0.0/16")
    assert "plat.pool" in check(tmp_path, "plat", site)
    assert check(tmp_path, "plat", {**site, "plat": {"pool": "198.18.0.0/28"}}) == ""


@pytest.mark.parametrize("value", ["fddd:1339::/64", "fd00::/8", "fddd:1337::/49", "64:ff9b::10.0.0.0/104"])
def test_clients_may_have_any_ipv6_prefix_beside_the_ranges(tmp_path, value):
    overlaps = value == "fd00::/8"
    assert ("prefix6" in check(tmp_path, "clat", changed("prefix6", value))) == overlaps


@pytest.mark.parametrize("role", ["clat", "plat"])
def test_domains_have_their_own_ranges_and_the_site_none(tmp_path, role):
    site = {key: value for key, value in GOOD.items() if key not in OF_A_DOMAIN}
    domain = {key: GOOD[key] for key in OF_A_DOMAIN}
    assert check(tmp_path, role, site, domain) == ""
    assert "clat_range" in check(tmp_path, role, GOOD, domain)
    assert "clat_range" in check(tmp_path, role, site, {**domain, "clat_range": "fddd::/64"})


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


@pytest.fixture
def router(tmp_path):
    return Router(tmp_path)


@pytest.mark.parametrize("said", ["wan", "reach"])
def test_the_uplink_of_the_site_is_the_nodes(router, said):
    router.upgrade(changed("plat.uplink", said))
    assert router.section("464xlat", "plat")["uplink"] == said
    router.upgrade()
    assert router.section("464xlat", "plat")["uplink"] == "wan"


def test_upgrading_twice_changes_nothing(router):
    first, second = router.upgrade(), router.upgrade()
    assert content(first) == content(second)
    assert router.upgrade() == second


def test_the_sites_values_arrive_in_uci(router):
    router.upgrade(
        changed("clat", {"margin": 96, "hold_s": 0, "probe_ipv4": ["9.9.9.9"], "dns": ["9.9.9.9"]})
    )
    node = router.section("464xlat", "node")
    assert (node["clat_range"], node["plat_range"]) == (GOOD["clat_range"], GOOD["plat_range"])
    assert (node["client_range"], node["mac"]) == ("10.46.0.0/16", "12:34:56:78:9a:bc")
    assert router.section("464xlat", "clat")["enabled"] == "1"
    prefixd = router.section("464xlat", "prefixd")
    assert (prefixd["margin"], prefixd["hold_s"], prefixd["probe_ipv4"]) == ("96", "0", ["9.9.9.9"])
    dhcp = router.section("dhcp", "local_node")
    assert dhcp["dhcp_option"] == ["option:router,10.46.0.1", "option:dns-server,9.9.9.9"]
    assert (dhcp["start"], dhcp["limit"], dhcp["leasetime"]) == ("2", "65533", "3600s")


def test_what_an_admin_changed_stays_and_what_the_mesh_shares_does_not(router):
    router.upgrade()
    router.edit("plat", "uplink", "wan", "reach")
    router.edit("prefixd", "margin", "64", "200")
    router.edit("node", "plat_range", "fddd:1338::/48", "fddd:9::/48")
    router.upgrade(changed("clat.margin", 100))
    assert router.section("464xlat", "plat")["uplink"] == "reach"
    assert router.section("464xlat", "prefixd")["margin"] == "200"
    assert router.section("464xlat", "node")["plat_range"] == "fddd:1338::/48"


def test_dnsmasq_keeps_the_lines_that_it_has(router):
    dhcp = router.config / "dhcp"
    dhcp.write_text(dhcp.read_text() + "\toption extraconftext 'cache-rr=ANY'\n")
    for _ in range(2):
        # its init script prints them with echo -e
        assert "option extraconftext 'cache-rr=ANY\\nscript-on-renewal'\n" in router.upgrade()["dhcp"]


def test_what_an_admin_added_and_the_site_leaves_out_stays(router):
    router.upgrade()
    config = router.config / "464xlat"
    config.write_text(
        config.read_text().replace(
            "config prefixd 'prefixd'\n", "config prefixd 'prefixd'\n\tlist probe_ipv4 '192.0.2.1'\n"
        )
    )
    for _ in range(2):
        router.upgrade()
        assert router.section("464xlat", "prefixd")["probe_ipv4"] == ["192.0.2.1"]


def test_what_the_site_leaves_out_again_goes_where_nobody_changed_it(router):
    router.upgrade(changed("clat.probe_ipv4", ["9.9.9.9"]))
    router.upgrade()
    assert "probe_ipv4" not in router.section("464xlat", "prefixd")
    router.upgrade(changed("clat.probe_ipv4", ["1.1.1.1"]))
    assert router.section("464xlat", "prefixd")["probe_ipv4"] == ["1.1.1.1"]


def test_what_nobody_changed_follows_the_site(router):
    router.upgrade(changed("clat.margin", 100))
    router.upgrade(changed("clat.margin", 120))
    assert router.section("464xlat", "prefixd")["margin"] == "120"
    router.upgrade()
    assert router.section("464xlat", "prefixd")["margin"] == "64"


def test_a_configuration_that_somebody_emptied_is_made_anew(router):
    (router.config / "464xlat").write_text("")
    router.upgrade()
    assert router.section("464xlat", "clat")["enabled"] == "1"
    assert router.section("464xlat", "plat")["pool"] == "192.168.223.8/30"


@pytest.mark.parametrize("text", [None, "config clat 'cl", "config clat 'clat'\n\toption enabled '1"])
def test_a_configuration_that_uci_cannot_read_is_made_anew(router, text):
    config = router.config / "464xlat"
    config.unlink() if text is None else config.write_text(text)
    router.upgrade()
    assert router.section("464xlat", "clat")["enabled"] == "1"
    assert router.section("464xlat", "plat")["enabled"] == "0"


def test_a_role_that_an_image_has_no_more_is_taken_back(router):
    router.upgrade(ON_PURPOSE)
    assert router.section("464xlat", "plat")["enabled"] == "1"
    texts = router.upgrade(ON_PURPOSE, roles=("clat",))
    assert router.section("464xlat", "plat")["enabled"] == "0"
    assert router.section("464xlat", "clat")["enabled"] == "1"
    assert "plat" not in texts["firewall"] + texts["network"]
    assert "mesh_babel" not in texts["firewall"]
    assert router.section("firewall", "mesh_roaming")
    router.upgrade(ON_PURPOSE)
    assert router.section("464xlat", "plat")["enabled"] == "0", "what comes by itself shares nothing"
    assert router.section("464xlat", "plat")["wan"] == ["wan"]


# what an image of before there was a choice left on each node that had gluon-464xlat-plat
UNASKED = """
config plat 'plat'
	option enabled '1'
	option pool '192.168.223.8/30'

config site 'site_plat'
	option enabled '1'
	option pool '192.168.223.8/30'
"""


def sharing(router) -> tuple[str, str, str]:
    plat = router.section("464xlat", "plat")
    return plat["enabled"], plat["limit_up_kbit"], plat["limit_down_kbit"]


def test_nobody_shares_who_was_not_asked(router):
    router.upgrade()
    assert sharing(router) == ("0", "0", "0")


def test_the_site_says_what_a_node_begins_with_and_no_more(router):
    router.upgrade(ON_PURPOSE)
    assert sharing(router) == ("1", "5000", "20000")
    router.upgrade()
    assert sharing(router) == ("1", "5000", "20000")


def test_an_image_that_comes_by_itself_never_begins_to_share_nor_lifts_a_limit(router):
    router.upgrade()
    router.upgrade(ON_PURPOSE)
    assert sharing(router) == ("0", "0", "0")
    router.edit("plat", "enabled", "0", "1")
    router.edit("plat", "limit_up_kbit", "0", "1000")
    router.upgrade(ON_PURPOSE)
    assert sharing(router) == ("1", "1000", "0")
    # nor on a node that had no such package before
    other = router.config / "464xlat"
    other.write_text("")
    router.upgrade(ON_PURPOSE)
    assert sharing(router) == ("0", "5000", "20000")


def test_an_exit_of_before_there_was_a_choice_is_none_until_its_owner_says_so(router, capfd):
    router.environment["GLUON_VERSION"] = "v2023.2"
    (router.config / "464xlat").write_text(UNASKED)
    router.upgrade()
    assert "was an exit without its owner's word" in capfd.readouterr().out
    assert sharing(router) == ("0", "0", "0")
    router.edit("plat", "enabled", "0", "1")
    router.upgrade()
    assert sharing(router) == ("1", "0", "0")
    assert capfd.readouterr().out == ""


def test_an_exit_that_its_site_makes_on_purpose_stays_one(router):
    router.environment["GLUON_VERSION"] = "v2023.2"
    (router.config / "464xlat").write_text(UNASKED)
    router.upgrade(ON_PURPOSE)
    assert sharing(router) == ("1", "5000", "20000")


def test_an_image_without_any_role_has_nothing_left_of_them_in_firewall_and_network(router):
    before = {name: (router.config / name).read_text() for name in ("firewall", "network")}
    router.upgrade()
    texts = router.upgrade(roles=())
    assert {name: texts[name].strip() for name in before} == before
    assert not router.section("464xlat", "babel")


def test_a_role_that_an_admin_switched_on_by_hand_is_his(router):
    router.upgrade(roles=("clat",))
    router.edit("plat", "enabled", "0", "1")
    router.upgrade(roles=("clat",))
    assert router.section("464xlat", "plat")["enabled"] == "1"


def test_a_node_of_one_role_does_not_get_the_other(router):
    router.upgrade(roles=("plat",))
    assert router.section("464xlat", "clat")["enabled"] == "0"
    assert not router.section("firewall", "clat")
    assert router.section("firewall", "plat")["device"] == ["plat"]
    # a platnode redirects clients that roam, and so its roaming daemon has to know by which addresses nodes find them
    assert router.section("464xlat", "roaming")["node_client_prefix"] == "fd00:1234:5678:9abc::/64"


def test_zones_let_clients_out_and_nothing_in_from_the_wan(router):
    texts = router.upgrade()
    ways = set(re.findall(r"config forwarding '(\w+)'", texts["firewall"]))
    assert {
        "loc_client_to_clat",
        "clat_to_mesh",
        "mesh_to_clat",
        "mesh_to_plat",
        "plat_to_wan",
        "clat_to_plat",
    } <= ways
    assert "wan_to_plat" not in ways
