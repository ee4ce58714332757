-- SPDX-License-Identifier: ISC
local xlat464 = require 'gluon.xlat464_site'

local check = { need = need, need_one_of = need_one_of, in_domain = in_domain }

xlat464.check_ranges(check)

xlat464.need_keys(check, 'plat', {
	'enabled', 'limit_up_kbit', 'limit_down_kbit', 'pool', 'ports', 'engine', 'uplink', 'allow',
	'client_flows', 'node_flows', 'client_flows_per_s', 'node_flows_per_s',
})

need_boolean({'plat', 'enabled'}, false)
local function kbit(value)
	return value == 0 or (type(value) == 'number' and value % 1 == 0 and value >= 64 and value <= 10000000)
end
need({'plat', 'limit_up_kbit'}, kbit, false, 'be a whole number from 64 to 10000000, or 0')
need({'plat', 'limit_down_kbit'}, kbit, false, 'be a whole number from 64 to 10000000, or 0')

local client_first, client_last = xlat464.range4(need_string(in_domain({'prefix4'})))
need({'plat', 'pool'}, function(text)
	local first, last, _, address = xlat464.range4(text == nil and '192.168.223.8/30' or text) -- the default too
	return first and first == address and last - first < 65536 and (last < client_first or first > client_last) and
		xlat464.for_hosts(first, last)
end, true, "be a range of IPv4 addresses outside prefix4 that hosts may have, a /16 or smaller, like '198.18.0.0/28'")

need_one_of({'plat', 'engine'}, {'auto', 'nat46', 'siit', 'jool'}, false)
need_one_of({'plat', 'uplink'}, {'wan', 'reach'}, false)

need_array({'plat', 'allow'}, function(element)
	need(element, function(text)
		local first, _, _, address = xlat464.range4(text)
		return first and first == address
	end, true, "be a range of IPv4 addresses like '192.168.178.0/24'")
end, false)

xlat464.need_whole(check, {'plat', 'client_flows'}, 0, 4294967) -- flows, default a 32nd of what the node can track
xlat464.need_whole(check, {'plat', 'node_flows'}, 0, 4294967) -- flows, default an eighth
xlat464.need_whole(check, {'plat', 'client_flows_per_s'}, 0, 10000) -- new flows a second
xlat464.need_whole(check, {'plat', 'node_flows_per_s'}, 0, 10000)

need({'plat', 'ports'}, function(text)
	local first, last = tostring(text):match('^([1-9]%d*)-([1-9]%d*)$')
	first, last = tonumber(first), tonumber(last)
	return first and first <= last and last <= 65535
end, false, "be a range of ports like '1024-65535'")
