-- SPDX-License-Identifier: ISC
-- What Gluon's status page shows of each neighbour: key, heading, unit.

return {
	provider = '/cgi-bin/dyn/neighbours-babel',
	attrs = {
		{ 'cost', 'Cost' },
		{ 'rxcost', 'RX cost' },
		{ 'txcost', 'TX cost' },
		{ 'reach', 'Hellos', ' %' },
	},
}
