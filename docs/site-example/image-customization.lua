-- SPDX-License-Identifier: ISC
features {
	'autoupdater',
	'config-mode-core',
	'respondd',
	'status-page',
	'web-advanced',
	'web-wizard',
}

-- babel, and IPv4 for the clients of every node
packages {
	'gluon-client-bridge',
	'gluon-radvd', -- the clients' IPv6 addresses
	'gluon-464xlat-babel',
	'gluon-464xlat-clat',
}

-- the rest has to have room for it: exits, and clients that keep their connections when they walk
if not device_class('tiny') then
	packages {
		'gluon-464xlat-plat',
	}
end

if target('x86', '64') then
	packages {
		'l3roamd-py',
	}
end
