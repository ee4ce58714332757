-- SPDX-License-Identifier: ISC
local xlat464 = require 'gluon.xlat464_site'
local check = { need = need, need_one_of = need_one_of, in_domain = in_domain }

xlat464.check_ranges(check)

local first, last = xlat464.range4(need_string(in_domain({'prefix4'})))
need(in_domain({'next_node', 'ip4'}), function(text)
	local address = xlat464.ipv4(text)
	return address and address > first and address < last
end, true, "be the nodes' IPv4 address towards clients, one in prefix4")

xlat464.need_keys(check, 'clat', { 'margin', 'hold_s', 'probe_ipv4', 'probe_interval_ms', 'lease_s', 'dns' })
xlat464.need_whole(check, {'clat', 'margin'}, 0, 65535) -- metric points, default 64
xlat464.need_whole(check, {'clat', 'hold_s'}, 0, 86400) -- seconds, default 10
xlat464.need_whole(check, {'clat', 'probe_interval_ms'}, 100, 60000) -- milliseconds, default 500
xlat464.need_whole(check, {'clat', 'lease_s'}, 120, 86400) -- seconds, default 3600

xlat464.need_keys(check, 'ipv6_mostly', { 'announce', 'v6only_wait_s' })
need_boolean({'ipv6_mostly', 'announce'}, false) -- without it hosts are told nothing
xlat464.need_whole(check, {'ipv6_mostly', 'v6only_wait_s'}, 300, 86400) -- seconds, default 1800

local function of_a_host(text)
	local address = xlat464.ipv4(text)
	return address and xlat464.for_hosts(address, address)
end

local function beyond_the_mesh(text)
	local address = xlat464.ipv4(text)
	return of_a_host(text) and (address < first or address > last)
end

local function need_addresses(path, most, is_good, good, default)
	local list = need_array(path, function(element)
		need(element, is_good, true, good)
	end, false)
	if list then
		need(path, function()
			return #list > 0 and #list <= most
		end, true, ('have 1 to %d addresses (without any, leave it out: %s)'):format(most, default))
	end
end
need_addresses({'clat', 'probe_ipv4'}, 8, beyond_the_mesh, 'be the IPv4 address of a host outside prefix4',
	'then a PLAT that answers itself is good')
need_addresses({'clat', 'dns'}, 3, of_a_host, 'be the IPv4 address of a host', 'then clients ask their node')

-- whose firewall and resolver take what clients ask only in a site with servers of its own
local servers = need({'dns', 'servers'}, function(list) return type(list) == 'table' end, false, 'be an array')
need({'clat', 'dns'}, function(list)
	return list ~= nil or (servers and #servers > 0)
end, true, 'be set in a site without dns.servers, or clients have nobody to ask')
