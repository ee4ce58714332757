-- SPDX-License-Identifier: ISC
-- A stand-in for Gluon's module of the site's values: site.a.b(default) is the value at a.b of the table in $SITE_FILE.

local site = assert(loadfile(assert(os.getenv('SITE_FILE'))))()

local function value_at(values)
	return setmetatable({}, {
		__index = function(_, key)
			if type(values) ~= 'table' then
				return value_at(nil)
			end
			return value_at(values[key])
		end,
		__call = function(_, default)
			if values == nil then
				return default
			end
			return values
		end,
	})
end

return value_at(site)
