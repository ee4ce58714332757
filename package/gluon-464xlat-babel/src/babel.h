// SPDX-License-Identifier: ISC
/* What respondd tells of a babel mesh, in parts. */
#pragma once

struct json_object;

/* network.addresses and network.mesh.babel of nodeinfo. */
void add_network(struct json_object *nodeinfo);
/* software.babeld of nodeinfo: what babeld calls itself when it greets. */
void add_version(struct json_object *nodeinfo);
/* The clients on the bridge, and its traffic. */
void add_bridge(struct json_object *statistics);
/* Neighbours that babel has routes by, of each device:
 *
 *   DEVICE: {"protocol": "babel", "ll-addr": own address, "neighbours": {address: {"rxcost", "txcost", "cost",
 *            "reachability": the last 16 hellos as bits, "ifname", "mac": if the address is made of one}}}
 *
 * Whole numbers all, for that is what maps read. NULL if babeld has not told them to the end.
 */
struct json_object *ask_neighbours(void);
