-- SPDX-License-Identifier: ISC
-- A stand-in for Gluon's check-site.lua: runs a check_site.lua (standard input) over site.json and domains/*.json in
-- $IPKG_INSTROOT/lib/gluon, with the validator functions that ours use. Tests take Gluon's own where they know it.

local json = require 'jsonc'

local root = os.getenv('IPKG_INSTROOT') or ''
local site = json.load(root .. '/lib/gluon/site.json')
local domains = {}
local listing = io.popen('ls "' .. root .. '/lib/gluon/domains" 2>/dev/null')
for file in listing:lines() do
	domains[#domains + 1] = file:match('^(.*)%.json$')
end
listing:close()

local function lookup(values, path)
	for _, key in ipairs(path) do
		if type(values) ~= 'table' then
			return nil
		end
		values = values[key]
	end
	return values
end

local function merged(a, b)
	if type(a) ~= 'table' or type(b) ~= 'table' then
		return b == nil and a or b
	end
	local result = {}
	for key, value in pairs(a) do
		result[key] = value
	end
	for key, value in pairs(b) do
		result[key] = merged(result[key], value)
	end
	return result
end

local function scope_for(conf, domain)
	local scope = setmetatable({}, { __index = _G })

	function scope.need(path, check, required, message)
		local value = lookup(conf, path)
		if value == nil and required == false then
			return nil
		end
		if not check(value) then
			error(('expected %s to %s, but it is %s'):format(table.concat(path, '.'), message, tostring(value)), 0)
		end
		return value
	end

	function scope.in_domain(path)
		if domain and lookup(site, path) ~= nil then
			error(('site.conf error: %s is allowed in domain configuration only'):format(table.concat(path, '.')), 0)
		end
		return path
	end

	local function need_type(name)
		return function(path, required)
			return scope.need(path, function(value)
				return type(value) == name
			end, required, 'be a ' .. name)
		end
	end
	scope.need_string = need_type('string')
	scope.need_boolean = need_type('boolean')
	local need_table = need_type('table')

	function scope.need_one_of(path, choices, required)
		return scope.need(path, function(value)
			for _, choice in ipairs(choices) do
				if choice == value then
					return true
				end
			end
			return false
		end, required, 'be one of the given array')
	end

	function scope.need_array(path, check, required)
		local value = need_table(path, required)
		for i = 1, #(value or {}) do
			local element = { unpack(path) }
			element[#element + 1] = i
			check(element)
		end
		return value
	end

	return scope
end

local check = assert(loadfile())

local function run(conf, domain)
	local ok, problem = pcall(setfenv(check, scope_for(conf, domain)))
	if not ok then
		io.stderr:write('*** ', tostring(problem), '\n')
		os.exit(1)
	end
end

if #domains == 0 then
	run(site)
end
for _, name in ipairs(domains) do
	local domain = json.load(root .. '/lib/gluon/domains/' .. name .. '.json')
	run(merged(site, domain), domain)
end
