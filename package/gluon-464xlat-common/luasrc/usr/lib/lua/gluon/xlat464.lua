-- SPDX-License-Identifier: ISC
-- What Gluon's upgrade scripts for 464XLAT share. Nothing else on a router needs it.

local M = {}

-- A value as one text; nil for none, which to UCI an empty list is too.
local function text(value)
	if type(value) == 'table' then
		return value[1] and table.concat(value, '\n')
	end
	return value and tostring(value)
end

-- Give options of /etc/config/464xlat the site's values (texts or lists of texts), except where an admin has changed
-- one: what the site last said is in the section `site_SECTION`, and a value that differs from it is somebody else's.
-- The options that the site left out are named there, in `unset`.
function M.keep_admins(uci, section, values)
	local shadow = 'site_' .. section
	if not uci:get('464xlat', shadow) then
		uci:section('464xlat', 'site', shadow, {})
	end
	local was_unset, unset = {}, {}
	for option in (text(uci:get('464xlat', shadow, 'unset')) or ''):gmatch('[^\n]+') do
		was_unset[option] = true
	end
	for option, value in pairs(values) do
		local now, before = text(uci:get('464xlat', section, option)), text(uci:get('464xlat', shadow, option))
		if now == before or (before == nil and not was_unset[option]) then
			uci:set('464xlat', section, option, value)
		end
		uci:set('464xlat', shadow, option, value)
		if text(value) == nil then
			unset[#unset + 1] = option
		end
	end
	table.sort(unset)
	uci:set('464xlat', shadow, 'unset', unset)
end

-- A file that a power cut has left with half of a line is begun anew, for UCI would take nothing for it any more.
function M.need_config(uci)
	if not uci:load('464xlat') then
		assert(io.open(uci:get_confdir() .. '/464xlat', 'w')):close()
	end
end

-- The section, made if somebody has taken it away.
function M.need_section(uci, section)
	if uci:get('464xlat', section) ~= section then
		uci:section('464xlat', section, section, {})
	end
end

-- What both roles take from the site. Ranges and clients' addresses are the mesh's, so no admin's.
function M.set_node(uci, site, mac)
	M.need_section(uci, 'node')
	uci:set('464xlat', 'node', 'clat_range', site.clat_range())
	uci:set('464xlat', 'node', 'plat_range', site.plat_range())
	uci:set('464xlat', 'node', 'client_range', site.prefix4())
	-- (a false is a value of the site's, not none)
	uci:set('464xlat', 'node', 'pref64', site.pref64('auto') or 'off')
	uci:set('464xlat', 'node', 'mac', mac)
	M.keep_admins(uci, 'node', {
		mesh_mtu = tostring(site.mesh_vpn.mtu(1280)),
		firewall = site.rule_backend('auto'),
	})
end

-- What the roaming daemon takes from the site, on a platnode too: there it redirects.
function M.set_roaming(uci, site)
	M.need_section(uci, 'roaming')
	uci:set('464xlat', 'roaming', 'node_client_prefix', require('gluon.l3').node_client_prefix6())
	local prefixes = { site.prefix6() }
	for _, prefix in ipairs(site.extra_prefixes6({})) do
		prefixes[#prefixes + 1] = prefix
	end
	uci:set('464xlat', 'roaming', 'prefix', prefixes)
	M.keep_admins(uci, 'roaming', { roam_auth = site.roam_auth('required') })
end

-- An interface that shows a translator's device to netifd, which is to leave addresses and routes on it alone; and
-- its firewall zone, by device, so that the rules are there before the device is.
function M.show_device(uci, name, neighbours)
	uci:section('network', 'interface', name, { proto = 'none', device = name })
	uci:section('firewall', 'zone', name, {
		name = name,
		device = { name },
		input = 'REJECT',
		output = 'ACCEPT',
		forward = 'REJECT',
	})
	for _, neighbour in ipairs(neighbours) do
		uci:section('firewall', 'forwarding', name .. '_to_' .. neighbour, { src = name, dest = neighbour })
		uci:section('firewall', 'forwarding', neighbour .. '_to_' .. name, { src = neighbour, dest = name })
	end
	-- answers to what the node itself asks through the device, and errors
	uci:section('firewall', 'rule', name .. '_ICMPv6_in', {
		src = name,
		proto = 'icmp',
		icmp_type = { 'echo-request', 'echo-reply', 'destination-unreachable', 'packet-too-big', 'time-exceeded' },
		limit = '1000/sec',
		family = 'ipv6',
		target = 'ACCEPT',
	})
end

-- Take back what an earlier image's role has left: there is nothing to carry it out with.
function M.leave_role(uci, role)
	if not uci:get('464xlat', 'site_' .. role) then
		return
	end
	M.need_section(uci, role)
	uci:set('464xlat', role, 'enabled', '0')
	uci:delete('464xlat', 'site_' .. role)
	local function is_its(section)
		return section.name == role or section.src == role or section.dest == role
	end
	for _, kind in ipairs({ 'zone', 'forwarding', 'rule' }) do
		uci:delete_all('firewall', kind, is_its)
	end
	uci:delete('network', role)
	uci:delete('firewall', 'mesh_roaming') -- the other role says it again
	if role == 'clat' then
		uci:delete('firewall', 'client_dhcp')
	end
end

return M
