-- SPDX-License-Identifier: ISC
-- A section of ours on Gluon's status page. The page is one template without a place for others' sections, so this
-- comes last of the controllers (by its name), serves the page in its stead, and puts the section below the overview,
-- whose list is the page's first and its shortest column; on a page without a list, at its end.

local json = require 'jsonc'
local util = require 'gluon.util'

local OVERVIEW_END = '</dl>'
local page = node()
local show_page, title, order = page.target, page.title, page.order

-- What a function writes, as one text; errors are passed on.
local function written(http, func, ...)
	local parts = {}
	http.write = function(_, text)
		parts[#parts + 1] = tostring(text)
	end
	local ok, err = pcall(func, ...)
	http.write = nil -- the class's again
	if not ok then
		error(err, 0)
	end
	return table.concat(parts)
end

local function statistics()
	local told = json.parse(util.exec('exec gluon-neighbour-info -d ::1 -p 1001 -t 3 -c 1 -r statistics'))
	return type(told) == 'table' and type(told.xlat464) == 'table' and told.xlat464 or nil
end

entry({}, call(function(http, renderer)
	local render = renderer.render
	renderer.render = function(name, ...)
		if name ~= 'status-page' then
			return render(name, ...)
		end
		local text = written(http, render, name, ...)
		local ok, section = pcall(written, http, render, 'xlat464', { xlat464 = statistics() }, 'gluon-464xlat-common')
		if not ok then -- the rest of the page is worth having
			io.stderr:write(tostring(section), '\n')
			section = ''
		end
		local _, place = text:find(OVERVIEW_END, 1, true)
		place = place or #text
		http:write(text:sub(1, place) .. section .. text:sub(place + 1))
	end
	show_page()
end), title, order)
