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
		if #byte > 3 or tonumber(byte) > 255 or byte:match('^0.') then -- 010 is 8 to some
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
	if length and length:match('^0.') then
		return nil
	end
	address, length = M.ipv4(address), tonumber(length)
	if not address or length > 32 then
		return nil
	end
	local size = 2 ^ (32 - length)
	local first = address - address % size
	return first, first + size - 1, length, address
end

-- Whether hosts may have all addresses from the number first to last: the roles refuse on a node what is not so.
function M.for_hosts(first, last)
	for _, text in ipairs({
		'0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3',
		'192.0.0.1/32', '192.0.0.8/32', -- a node's own, and whence errors come
	}) do
		local other_first, other_last = M.range4(text)
		if first <= other_last and last >= other_first then
			return false
		end
	end
	return true
end

-- The eight groups of an IPv6 prefix as numbers, and its length; nil for what is none.
local function groups6(text)
	local address, length = tostring(text):match('^([%x:]+)/(%d+)$')
	local head, tail = (address or ''):match('^(.-)::(.*)$')
	local groups, behind = {}, {}
	for group in (head or address or ''):gmatch('%x+') do
		groups[#groups + 1] = tonumber(group, 16)
	end
	for group in (tail or ''):gmatch('%x+') do
		behind[#behind + 1] = tonumber(group, 16)
	end
	local zeros = 8 - #groups - #behind
	for i = 1, 8 - #groups do
		groups[#groups + 1] = behind[i - zeros] or 0
	end
	return address and groups, tonumber(length)
end

-- Whether two IPv6 prefixes have addresses in common; false as well for what is none, which is not for us to judge.
function M.overlap6(a, b)
	local a_groups, a_length = groups6(a)
	local b_groups, b_length = groups6(b)
	if not a_groups or not b_groups then
		return false
	end
	local bits = math.min(a_length, b_length)
	for i = 1, 8 do
		local unit = 2 ^ (16 - math.max(0, math.min(16, bits - 16 * (i - 1))))
		if math.floor(a_groups[i] / unit) ~= math.floor(b_groups[i] / unit) then
			return false
		end
	end
	return true
end

-- Whether a text is a /96 for hosts that translate themselves: in none of the prefixes in use, and no node's.
function M.is_pref64(text, plat_range, used)
	local groups, length = groups6(text)
	if not groups or length ~= 96 or groups[7] ~= 0 or groups[8] ~= 0 or groups[5] >= 256 then
		return false -- bits 64 to 71 are zero by RFC 6052
	end
	for _, other in ipairs({ '::/64', 'fe80::/10', 'ff00::/8', unpack(used) }) do
		if M.overlap6(text, other) then
			return false
		end
	end
	-- that of no MAC
	return not M.overlap6(text, plat_range) or groups[4] + groups[5] + groups[6] == 0
end

-- A whole number, as the programs on a node want it.
function M.need_whole(check, path, least, most)
	check.need(path, function(value)
		return type(value) == 'number' and value % 1 == 0 and value >= least and value <= most
	end, false, ('be a whole number from %d to %d'):format(least, most))
end

-- Nothing but the known keys in the table: one with a letter wrong would be a setting that nobody follows.
function M.need_keys(check, name, known)
	for key in pairs(check.need({name}, function(value)
		return type(value) == 'table'
	end, false, 'be a table') or {}) do
		local is_known = false
		for _, other in ipairs(known) do
			is_known = is_known or key == other
		end
		check.need({name, tostring(key)}, function()
			return is_known
		end, true, 'be left out, there is no such key but ' .. table.concat(known, ', '))
	end
end

-- The keys that both roles need. `check` holds Gluon's validator functions.
function M.check_ranges(check)
	local example = "be a /48 of unicast addresses like 'fddd:1337:1337::/48'"
	local clat_range = check.need(check.in_domain({'clat_range'}), M.range6, true, example)
	local plat_range = check.need(check.in_domain({'plat_range'}), M.range6, true, example)
	check.need({'plat_range'}, function(text)
		return M.range6(text) ~= M.range6(clat_range)
	end, true, 'be another /48 than clat_range')
	for _, name in ipairs({ 'prefix6', 'node_prefix6', 'extra_prefixes6' }) do
		check.need({name}, function(prefixes)
			for _, prefix in ipairs(type(prefixes) == 'table' and prefixes or { prefixes }) do
				if M.overlap6(prefix, clat_range) or M.overlap6(prefix, plat_range) then
					return false
				end
			end
			return true
		end, false, 'have no address in clat_range or plat_range, which are for translated packets alone')
	end
	check.need(check.in_domain({'prefix4'}), function(text)
		local first, last, length, address = M.range4(text)
		return first and first == address and length >= 8 and length <= 28 and M.for_hosts(first, last)
	end, true, "be the clients' IPv4 range, a /8 to /28 of addresses that hosts may have like '10.46.0.0/16'")
	check.need(check.in_domain({'pref64'}), function(text)
		local used = { clat_range }
		for _, name in ipairs({ 'prefix6', 'node_prefix6', 'node_client_prefix6', 'extra_prefixes6' }) do
			local prefixes = check.need({name}, function() return true end, false)
			for _, prefix in ipairs(type(prefixes) == 'table' and prefixes or { prefixes }) do
				used[#used + 1] = prefix
			end
		end
		return text == false or (type(text) == 'string' and M.is_pref64(text, plat_range, used))
	end, false, "be false, or a /96 that is not in use, and no node's of plat_range, like '64:ff9b::/96'")
	M.need_whole(check, {'mesh_vpn', 'mtu'}, 1280, 65535) -- IPv6 needs 1280
	check.need_one_of({'roam_auth'}, {'required', 'off'}, false)
	check.need_one_of({'rule_backend'}, {'auto', 'nft', 'xtables'}, false)
end

return M
