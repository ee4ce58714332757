-- SPDX-License-Identifier: ISC
-- A stand-in for lua-simple-uci: configuration files in $UCI_DIR, read and written in UCI's own format. Sections keep
-- their order, options are sorted, so that a test can compare texts.

local M = {}
local Cursor = {}
Cursor.__index = Cursor

function M.cursor()
	return setmetatable({ files = {} }, Cursor)
end

function Cursor.get_confdir()
	return assert(os.getenv('UCI_DIR'))
end

local function path_of(config)
	return Cursor.get_confdir() .. '/' .. config
end

-- As the real one: not for a file that is missing, or has a quotation that does not end.
function Cursor.load(_, config)
	local input = io.open(path_of(config))
	local text = input and input:read('*a')
	if input then
		input:close()
	end
	return text and select(2, text:gsub('#[^\n]*', ''):gsub("'", '')) % 2 == 0
end

local function unquoted(word)
	return (word:match("^'(.*)'$")) or word
end

function Cursor:file(config)
	local sections = self.files[config]
	if sections then
		return sections
	end
	sections = {}
	self.files[config] = sections
	sections.is_unreadable = not self:load(config)
	local input = io.open(path_of(config))
	for line in input and input:lines() or function() end do
		local kind, name, rest = line:match("^%s*(%a+)%s+(%S+)%s*(.-)%s*$")
		if kind == 'config' then
			local section = { ['.type'] = unquoted(name), ['.name'] = rest ~= '' and unquoted(rest) or nil }
			sections[#sections + 1] = section
			section['.name'] = section['.name'] or ('cfg%02d'):format(#sections)
			section['.anonymous'] = rest == ''
		elseif kind == 'option' then
			sections[#sections][unquoted(name)] = unquoted(rest)
		elseif kind == 'list' then
			local section, key = sections[#sections], unquoted(name)
			section[key] = section[key] or {}
			table.insert(section[key], unquoted(rest))
		end
	end
	if input then
		input:close()
	end
	return sections
end

function Cursor:find(config, name)
	for i, section in ipairs(self:file(config)) do
		if section['.name'] == name then
			return section, i
		end
	end
end

function Cursor:get(config, name, option)
	local section = self:find(config, name)
	return section and section[option or '.type']
end

function Cursor:get_bool(...)
	return self:get(...) == '1'
end

function Cursor:set(config, name, option, value)
	local section = assert(self:find(config, name), config .. '.' .. name .. ' is no section')
	if type(value) == 'boolean' then
		value = value and '1' or '0'
	elseif type(value) == 'table' and #value == 0 then
		value = nil
	elseif type(value) == 'table' then
		local copy = {}
		for i, item in ipairs(value) do
			copy[i] = tostring(item)
		end
		value = copy
	end
	section[option] = type(value) == 'number' and tostring(value) or value
	return true
end

function Cursor:delete(config, name, option)
	local section, i = self:find(config, name)
	if section and option then
		section[option] = nil
	elseif section then
		table.remove(self:file(config), i)
	end
end

function Cursor:section(config, kind, name, values)
	local section = self:find(config, name)
	if not section then
		section = { ['.name'] = name }
		table.insert(self:file(config), section)
	end
	section['.type'] = kind
	for option, value in pairs(values or {}) do
		self:set(config, name, option, value)
	end
	return name
end

function Cursor:foreach(config, kind, call)
	for _, section in ipairs(self:file(config)) do
		if section['.type'] == kind and call(section) == false then
			return
		end
	end
end

function Cursor:delete_all(config, kind, is_meant)
	local meant = {}
	self:foreach(config, kind, function(section)
		if is_meant(section) then
			meant[#meant + 1] = section['.name']
		end
	end)
	for _, name in ipairs(meant) do
		self:delete(config, name)
	end
end

function Cursor:get_first(config, kind)
	for _, section in ipairs(self:file(config)) do
		if section['.type'] == kind then
			return section['.name']
		end
	end
end

function Cursor:save(config)
	local lines = {}
	if self:file(config).is_unreadable then
		return false
	end
	for _, section in ipairs(self:file(config)) do
		lines[#lines + 1] = ("config %s%s"):format(section['.type'],
			section['.anonymous'] and '' or (" '%s'"):format(section['.name']))
		local keys = {}
		for key in pairs(section) do
			if key:sub(1, 1) ~= '.' then
				keys[#keys + 1] = key
			end
		end
		table.sort(keys)
		for _, key in ipairs(keys) do
			local value = section[key]
			for _, item in ipairs(type(value) == 'table' and value or { value }) do
				lines[#lines + 1] = ("\t%s %s '%s'"):format(type(value) == 'table' and 'list' or 'option', key, item)
			end
		end
		lines[#lines + 1] = ''
	end
	local output = assert(io.open(path_of(config), 'w'))
	output:write(table.concat(lines, '\n'))
	output:close()
	return true
end

return M
