# SPDX-License-Identifier: ISC
"""Gluon's upgrade scripts: whatever was there before, a site and an owner's changes come to one result."""

import re

import pytest
from gluon_node import GOOD, NEEDS_LUA, ON_PURPOSE, Router, changed, content

pytestmark = NEEDS_LUA


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


@pytest.mark.parametrize(
    ("said", "becomes"), [(None, "auto"), (False, "off"), ("64:ff9b::/96", "64:ff9b::/96")]
)
def test_the_prefix_of_hosts_that_translate_themselves_is_the_sites(router, said, becomes):
    router.upgrade(GOOD if said is None else changed("pref64", said))
    assert router.section("464xlat", "node")["pref64"] == becomes


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


OPTIONS_FILE = "dhcp-optsfile=/tmp/hosts/.464xlat-options"


def test_hosts_are_told_nothing_unless_the_site_says_so(router):
    texts = router.upgrade()
    assert router.section("464xlat", "hosts") == {"v6only_wait_s": "1800"}
    assert OPTIONS_FILE not in texts["dhcp"]
    mostly = {"ipv6_mostly": {"announce": True, "v6only_wait_s": 300}}
    for _ in range(2):
        texts = router.upgrade({**GOOD, **mostly})
    assert router.section("464xlat", "hosts") == {"announce": "on", "v6only_wait_s": "300", "dns": ["node"]}
    assert f"option extraconftext 'script-on-renewal\\n{OPTIONS_FILE}'\n" in texts["dhcp"]
    router.upgrade({**GOOD, "ipv6_mostly": {"announce": False}})
    assert router.section("464xlat", "hosts")["announce"] == "off"
    router.upgrade()
    assert "announce" not in router.section("464xlat", "hosts")


@pytest.mark.parametrize(
    ("more", "servers"),
    [
        ({"clat": {"dns": ["9.9.9.9", "1.1.1.1"]}, "dns": {}}, ["9.9.9.9", "1.1.1.1"]),
        ({"next_node": {"ip4": "10.46.0.1", "ip6": "fd46:4646:4646:1::1"}}, None),  # uradvd names it
    ],
)
def test_hosts_have_somebody_to_ask_for_names_by_ipv6(router, more, servers):
    router.upgrade({**GOOD, "ipv6_mostly": {"announce": True}, **more})
    assert router.section("464xlat", "hosts").get("dns") == servers


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
