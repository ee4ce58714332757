-- SPDX-License-Identifier: ISC
features {
	'autoupdater',
	'config-mode-core',
	'mesh-babel-464xlat', -- babel, and IPv4 for the clients of every node
	'respondd',
	'status-page',
	'web-advanced',
	'web-wizard',
}

-- the rest has to have room for it: exits, and clients that keep their connections when they walk
if not device_class('tiny') then
	features {
		'464xlat-plat',
	}
end

-- on CPython where there is plenty of room, which takes less of the processor; else on MicroPython
if target('x86', '64') then
	features {
		'464xlat-roaming',
	}
elseif not device_class('tiny') then
	features {
		'464xlat-roaming-micropython',
	}
end
