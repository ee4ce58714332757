-- SPDX-License-Identifier: ISC
-- A stand-in for lua-jsonc: the "JSON" of tests is a Lua expression.

local M = {}

function M.load(path)
	local chunk = loadfile(path)
	return chunk and setfenv(chunk, {})()
end

function M.parse(text)
	local chunk = loadstring('return ' .. (text == 'null' and 'nil' or text))
	return chunk and setfenv(chunk, {})()
end

-- JSON indeed, of tables that are lists or whose keys are texts.
function M.stringify(value)
	if type(value) ~= 'table' then
		return type(value) == 'string' and ('%q'):format(value) or tostring(value)
	end
	local parts = {}
	if #value > 0 then
		for i, item in ipairs(value) do
			parts[i] = M.stringify(item)
		end
		return '[' .. table.concat(parts, ',') .. ']'
	end
	for key, item in pairs(value) do
		parts[#parts + 1] = ('%q:%s'):format(key, M.stringify(item))
	end
	table.sort(parts)
	return '{' .. table.concat(parts, ',') .. '}'
end

return M
