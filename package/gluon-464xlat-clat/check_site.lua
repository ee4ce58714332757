-- SPDX-License-Identifier: ISC
local xlat464 = require 'gluon.xlat464_site'

xlat464.check_ranges({ need = need, need_one_of = need_one_of, in_domain = in_domain })

local first, last = xlat464.range4(need_string(in_domain({'prefix4'})))
need(in_domain({'next_node', 'ip4'}), function(text)
	local address = xlat464.ipv4(text)
	return address and address > first and address < last
end, true, "be the nodes' IPv4 address towards clients, one in prefix4")

need_number_range({'clat', 'margin'}, 0, 65535, false) -- metric points, default 64
need_number_range({'clat', 'hold_s'}, 0, 86400, false) -- seconds, default 10
need_number_range({'clat', 'probe_interval_ms'}, 100, 60000, false) -- milliseconds, default 500
need_number_range({'clat', 'lease_s'}, 120, 86400, false) -- seconds, default 3600

local function need_addresses(path, most, default)
	local list = need_array(path, function(element)
		need(element, xlat464.ipv4, true, 'be an IPv4 address')
	end, false)
	if list then
		need(path, function()
			return #list > 0 and #list <= most
		end, true, ('have 1 to %d addresses (without any, leave it out: %s)'):format(most, default))
	end
end
need_addresses({'clat', 'probe_ipv4'}, 8, 'then a PLAT that answers itself is good')
need_addresses({'clat', 'dns'}, 3, 'then clients ask their node')
