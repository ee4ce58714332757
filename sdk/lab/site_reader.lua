-- SPDX-License-Identifier: ISC
-- Read a Gluon site.conf or domain file on standard input, print its table as JSON.
--
-- As Gluon's own scripts/site_config.lua does, the text is one Lua expression in an empty environment: it can
-- name no function, open no file and start no program. What is left to a hostile file is to take its time and
-- memory, which the hook and the limits of the process that starts this bound.

local INSTRUCTIONS_MAX = 1000000
local DEPTH_MAX = 32

getmetatable('').__index = nil -- ('x'):rep(1e9) would reach the string library without naming it

local function fail(text)
	io.stderr:write((string.gsub(tostring(text), '%c', ' ')), '\n')
	os.exit(1)
end

local text = io.read('*a')
if string.sub(text, 1, 1) == '\27' then
	fail('this is compiled Lua, expected a table as text')
end

local chunk, problem = loadstring('return ' .. text, '=file')
if not chunk then
	fail(problem)
end
setfenv(chunk, {})
debug.sethook(function()
	error('it runs on and on, expected a table and no program', 0)
end, '', INSTRUCTIONS_MAX)
local ok, value = pcall(chunk)
debug.sethook()
if not ok then
	fail(value)
end
if type(value) ~= 'table' then
	fail('it is ' .. (value == nil and 'empty' or 'a ' .. type(value)) .. ', expected a table in braces')
end

local format, byte = string.format, string.byte

local function escaped(c)
	return format('\\u%04x', byte(c))
end

local function quoted(s)
	return '"' .. string.gsub(s, '[%c"\\\127-\255]', escaped) .. '"'
end

local encode

-- a table with element 1 is a list, as in Gluon; keys that are neither text nor number do not occur in JSON
local function encode_table(t, depth)
	if depth > DEPTH_MAX then
		fail('its tables are nested too deep')
	end
	local parts = {}
	if t[1] ~= nil then
		for _, item in ipairs(t) do
			parts[#parts + 1] = encode(item, depth)
		end
		return '[' .. table.concat(parts, ',') .. ']'
	end
	for key, item in pairs(t) do
		if type(key) == 'string' or type(key) == 'number' then
			parts[#parts + 1] = quoted(tostring(key)) .. ':' .. encode(item, depth)
		end
	end
	return '{' .. table.concat(parts, ',') .. '}'
end

function encode(item, depth)
	local kind = type(item)
	if kind == 'table' then
		return encode_table(item, depth + 1)
	elseif kind == 'string' then
		return quoted(item)
	elseif kind == 'boolean' then
		return tostring(item)
	elseif kind == 'number' and item == item and item ~= math.huge and item ~= -math.huge then
		return format('%.17g', item)
	end
	return 'null'
end

print(encode(value, 0))
