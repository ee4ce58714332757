-- SPDX-License-Identifier: ISC
-- What the check_site.lua of the 464XLAT packages share. It runs while an image is built, on the building machine.

local M = {}

-- The three groups of a /48 of unicast addresses, as one text; nil for anything else.
function M.range6(text)
	if type(text) ~= 'string' then
		return nil
	end
	local groups = {}
	for group in (text:match('^(%x[%x:]*)::/48$') or ''):gmatch('[^:]*') do
		if group ~= '' then
			groups[#groups + 1] = group
		end
	end
	if #groups == 0 or #groups > 3 or table.concat(groups, ':') .. '::/48' ~= text then
		return nil
	end
	for i = 1, 3 do
		local group = groups[i] or '0'
		if #group > 4 then
			return nil
		end
		groups[i] = ('%04x'):format(tonumber(group, 16))
	end
	local prefix = table.concat(groups, ':')
	local first = tonumber(groups[1], 16)
	-- multicast; link-local; where ::1 is
	if first >= 0xff00 or (first >= 0xfe80 and first < 0xfec0) or prefix == '0000:0000:0000' then
		return nil
	end
	return prefix
end

-- An IPv4 address as a number; nil for anything else.
function M.ipv4(text)
	if type(text) ~= 'string' then
		return nil
	end
	local bytes = { text:match('^(%d+)%.(%d+)%.(%d+)%.(%d+)$') }
	local address = 0
	for _, byte in ipairs(bytes) do
		if #byte > 3 or tonumber(byte) > 255 then
			return nil
		end
		address = address * 256 + tonumber(byte)
	end
	return #bytes == 4 and address or nil
end

-- The first and last address of an IPv4 range as numbers, its length and the address it is written with; nil if none.
function M.range4(text)
	if type(text) ~= 'string' then
		return nil
	end
	local address, length = text:match('^([%d.]+)/(%d%d?)$')
	address, length = M.ipv4(address), tonumber(length)
	if not address or length > 32 then
		return nil
	end
	local size = 2 ^ (32 - length)
	local first = address - address % size
	return first, first + size - 1, length, address
end

-- The keys that both roles need. `check` holds Gluon's validator functions.
function M.check_ranges(check)
	local example = "be a /48 of unicast addresses like 'fddd:1337:1337::/48'"
	local clat_range = check.need(check.in_domain({'clat_range'}), M.range6, true, example)
	check.need(check.in_domain({'plat_range'}), M.range6, true, example)
	check.need({'plat_range'}, function(text)
		return M.range6(text) ~= M.range6(clat_range)
	end, true, 'be another /48 than clat_range')
	check.need(check.in_domain({'prefix4'}), function(text)
		local first, _, length = M.range4(text)
		return first and length >= 8 and length <= 28
	end, true, "be the clients' IPv4 range, a /8 to /28 like '10.46.0.0/16'")
	check.need_one_of({'roam_auth'}, {'token', 'off'}, false)
	check.need_one_of({'rule_backend'}, {'auto', 'nft', 'xtables'}, false)
end

return M
