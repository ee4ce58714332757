-- SPDX-License-Identifier: ISC
-- A stand-in for gluon-web-model's classes, as far as our pages of the wizard use them. Tests take Gluon's own where
-- they know it.

local M = { FORM_NODATA = 0, FORM_VALID = 1, FORM_INVALID = -1 }

local function class(base)
	return setmetatable({}, {
		__index = base,
		__call = function(self, ...)
			local object = setmetatable({}, { __index = self })
			object:init(...)
			return object
		end,
	})
end

local Node = class()

function Node:init(name, title, description)
	self.name, self.title, self.description = name, title, description
	self.children, self.deps, self.state = {}, {}, M.FORM_NODATA
end

function Node:add(kind, ...)
	local child = kind(...)
	child.parent = self
	table.insert(self.children, child)
	return child
end

function Node:id()
	return (self.parent and self.parent:id() or 'id') .. '.' .. (self.name or '1')
end

function Node:depends(other, value)
	table.insert(self.deps, { other = other, value = value })
end

function Node:is_shown()
	for _, dep in ipairs(self.deps) do
		if dep.other:is_shown() and dep.other.data == dep.value then
			return true
		end
	end
	return #self.deps == 0
end

function Node:take(http)
	self.state = M.FORM_VALID
	for _, child in ipairs(self.children) do
		child:take(http)
	end
end

-- after everything has its data: what is not shown has none
function Node:settle()
	if not self:is_shown() then
		self.state = M.FORM_NODATA
	end
	for _, child in ipairs(self.children) do
		child:settle()
		if child.state == M.FORM_INVALID then
			self.state = M.FORM_INVALID
		end
	end
end

function Node.write() end

function Node:handle()
	if self.state == M.FORM_VALID then
		for _, child in ipairs(self.children) do
			child:handle()
		end
		self:write(self.data)
	end
end

M.Flag = class(Node)
function M.Flag:take(http)
	self.data = http:formvalue(self:id()) ~= nil
	self.state = M.FORM_VALID
end

M.Value = class(Node)
function M.Value:take(http)
	local least, most = assert(self.datatype:match('^range%(([^,]+),([^)]+)%)$'))
	self.data = http:formvalue(self:id())
	local number = (self.data or ''):match('^%-?%d*%.?%d+$') and tonumber(self.data)
	local is_good = number and number >= tonumber(least) and number <= tonumber(most)
	self.state = is_good and M.FORM_VALID or M.FORM_INVALID
end

M.Section = class(Node)
function M.Section:init(title, description)
	Node.init(self, nil, title, description)
end
M.Section.option = Node.add

M.Form = class(Node)
M.Form.section = Node.add
function M.Form:parse(http)
	self:take(http)
	self:settle()
end

return M
