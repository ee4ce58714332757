# SPDX-License-Identifier: ISC
"""`option uplink reach` on a router: the service waits for reach's link, and takes it as the WAN."""

from package_node import CONFIG, is_up, make_node, pytestmark

UPLINK = CONFIG.replace("option pool", "option uplink 'reach'\n\toption pool")
# what reach's init script and netifd make of a description
LINK = """
ip link add wg0 type veth peer name server && ip link set wg0 up && ip link set server up
ip -4 addr add 198.18.4.2/24 dev wg0
ip -4 route add default dev wg0 table 43
ip -4 rule add priority 4641 iif plat lookup 43
"""


def test_the_role_waits_for_the_link_and_takes_it_as_its_wan(make_node):
    node = make_node()
    node.write(UPLINK)
    node.start()
    node.wait("/etc/init.d/464xlat status", "no link of reach takes what comes from plat yet")
    node(LINK)
    said = node.wait("464xlat status", "out of wg0")
    assert is_up(said, "plat")
    node.wait("/etc/init.d/464xlat status | grep 'no link of reach' || echo forgotten", "forgotten")
    node.write(CONFIG)
    node("/etc/init.d/464xlat reload")
    node.wait("464xlat status", "out of wan")
