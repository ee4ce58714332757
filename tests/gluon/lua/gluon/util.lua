-- SPDX-License-Identifier: ISC
-- A stand-in for what our Lua asks of gluon.util.

local M = {}

function M.exec(command)
	local program = io.popen(command)
	local text = program:read('*a')
	program:close()
	return text
end

return M
