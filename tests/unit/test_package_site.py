# SPDX-License-Identifier: ISC
"""check_site.lua of the packages: what a site may say, and what is refused in one sentence that names the key."""

import re
import subprocess
from pathlib import Path

import pytest
from gluon_node import GLUON, GOOD, LUA, MISSING, NEEDS_GLUON, NEEDS_LUA, ROOT, changed, check

from sdk.lab.site import load_site

pytestmark = NEEDS_LUA
OF_A_DOMAIN = ("clat_range", "plat_range", "prefix4", "next_node")
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


@pytest.mark.parametrize("role", ["clat", "plat", "babel"])
def test_a_site_with_two_ranges_is_all_that_a_role_needs(tmp_path, role):
    assert check(tmp_path, role, GOOD) == ""


@pytest.mark.parametrize("role", ["clat", "plat", "babel"])
def test_the_example_of_the_docs_is_a_good_site(tmp_path, role):
    example = ROOT / "docs/site-example/site.conf"
    assert check(tmp_path, role, example.read_text()) == ""
    assert str(load_site(example).clat_range) == "fddd:1337:1337::/48"


@NEEDS_GLUON
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


@NEEDS_GLUON
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
    assert ("l3roamd-micropython" in names) == (board != "x86" and device != "tiny")


# path of keys -> values that a role's check takes
OPTIONAL = {
    "clat": {
        "clat.margin": [0],
        "clat.hold_s": [86400],
        "clat.probe_ipv4": [["9.9.9.9", "1.1.1.1"]],
        "clat.dns": [["9.9.9.9"]],
        "ipv6_mostly": [{"announce": True}, {"announce": False, "v6only_wait_s": 300}],
        "roam_auth": ["off", "required"],
        "pref64": [False, "64:ff9b::/96", "fddd:1338::/96", "2001:db8:64:0:0:1::/96"],
    },
    "plat": {
        "rule_backend": ["xtables"],
        "plat.pool": ["192.0.2.0/28"],
        "plat.ports": ["1024-65535"],
        "plat.engine": ["jool"],
        "plat.uplink": ["reach"],
        "plat.enabled": [True, False],
        "plat.limit_up_kbit": [0, 64, 10000000],
        "plat.limit_down_kbit": [0, 64, 10000000],
        "plat_range": ["2001:db8:1::/48"],
    },
}
LIMITS = [-1, 63, 64.5, 10000001, "8000", True]
# and values that it refuses, of both roles and of one
WRONG = {
    "clat_range": [
        *(
            MISSING,
            48,
            "",
            "fddd::",
            "fddd::/47",
            "fddd:1:2:3::/48",
            "10.0.0.0/8",
            "fddd:1::2/48",
            "fddd:12345::/48",
        ),
        *(
            ":1::/48",
            "ff02:1::/48",
            "fe80::/48",
            "::/48",
            "0:0:0::/48",
            "fddd:g::/48",
            "fddd:1:::/48",
            " fddd::/48",
        ),
    ],
    "plat_range": [MISSING, {}, "fddd:1338:1338::/64", "fddd:1337:1337::/48"],
    "prefix4": [
        *(MISSING, 4, "10.46.0.0", "10.46.0.0/7", "10.46.0.0/29", "10.46.0.256/16"),
        # what a node would refuse, and what addresses of other use would be lost to
        *("10.46.1.0/16", "010.46.0.0/16", "10.46.0.0/08", "127.0.0.0/8", "224.0.0.0/8"),
    ],
    "prefix6": ["fddd:1337:1337:5::/64", "fddd:1338::/32", "FDDD:1338:0:1::/64"],
    "node_prefix6": ["fddd:1337:1337:5::/64"],
    "extra_prefixes6": [["fd01::/64", "fddd:1337:1337:5::/64"]],
    "pref64": [
        *(
            True,
            96,
            "",
            "auto",
            "64:ff9b::",
            "64:ff9b::/95",
            "fddd:1337:1337::/96",
            "fd46:4646:4646:0:0:1::/96",
        ),
        *(
            "fddd:1338:0:1234:5678:9abc::/96",
            "fddd:1338:0:0:0:1::/96",
            "2001:db8:0:0:8000::/96",
            "::/96",
            "ff0e::/96",
        ),
        *("64:ff9b::1/96", "fd46:4646:4646:1::/96", "fe80::/96"),
    ],
    "mesh_vpn.mtu": [1279, 1374.5, "1374"],
    "roam_auth": [True, "on", "", "token"],
    "rule_backend": ["iptables", 1],
}
WRONG_OF_A_ROLE = {
    "clat": {
        "next_node.ip4": [MISSING, "10.47.0.1", "10.46.0.0", "10.46.255.255", "x"],
        "clat.margin": ["64", -1, 65536, 64.5, False],
        "clat": ["x"],
        "clat.margn": [64],
        "clat.dns": [["0.0.0.0"], ["9.9.9.009"], [9]],
        "clat.hold_s": ["10", -1, 86401],
        "clat.probe_interval_ms": [99],
        "clat.lease_s": [119],
        "ipv6_mostly": [True, {"anounce": True}],
        "ipv6_mostly.announce": ["on", 1],
        "ipv6_mostly.v6only_wait_s": [299, 86401, "300"],
        "clat.probe_ipv4": [
            *("9.9.9.9", ["9.9.9.256"], ["::1"], ["1.1.1.1"] * 9, [], ["10.46.0.9"], ["224.0.0.1"]),
        ],
    },
    "plat": {
        "plat.port": ["1024-65535"],
        "plat.pool": [
            *(1, "10.46.1.0/24", "10.0.0.0/8", "192.0.2.1/24", "0.0.0.0/0", "a/8", "127.0.0.0/24"),
            *("192.0.0.8/29", False),
        ],
        "plat.engine": ["tayga", True],
        "plat.enabled": [1, "1", "yes"],
        "plat.limit_up_kbit": LIMITS,
        "plat.limit_down_kbit": LIMITS,
        "plat.uplink": ["wg0", False, ["reach"]],
        "plat.ports": [1024, "1024", "0-9", "01-9", "9-8", "1-65536", "1-2-3"],
    },
}


def cases(table: dict[str, dict]) -> list[tuple]:
    return [
        (role, path, value)
        for role, keys in table.items()
        for path, values in keys.items()
        for value in values
    ]


@pytest.mark.parametrize(("role", "path", "value"), cases(OPTIONAL))
def test_what_is_optional_may_be_said(tmp_path, role, path, value):
    assert check(tmp_path, role, changed(path, value)) == ""


@pytest.mark.parametrize(
    ("role", "path", "value"), cases({"clat": WRONG, "plat": WRONG}) + cases(WRONG_OF_A_ROLE)
)
def test_a_wrong_value_is_refused_and_the_key_named(tmp_path, role, path, value):
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
