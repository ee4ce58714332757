-- SPDX-License-Identifier: ISC
-- A stand-in for gluon-web: loads a folder's controllers in the order of their names, renders templates, and serves one
-- page. As much of it as a page of ours can tell from the real one.

local function pcdata(text)
	local names = { ['&'] = '&#38;', ['<'] = '&#60;', ['>'] = '&#62;', ['"'] = '&#34;', ["'"] = '&#39;' }
	return text and (tostring(text):gsub('[&<>"\']', names))
end

-- A template as a function of Lua: text is written, <% %> is code.
local function compile(path)
	local file = assert(io.open(path))
	local source, parts, at = file:read('*a'), {}, 1
	file:close()
	local strip
	local function text(words)
		words = strip and words:gsub('^%s+', '') or words
		parts[#parts + 1] = ('write(%q) '):format(words)
	end
	for before, code, behind in source:gmatch('()<%%(.-)%%>()') do
		local words = source:sub(at, before - 1)
		text(code:sub(1, 1) == '-' and words:gsub('%s+$', '') or words)
		strip = code:sub(-1) == '-'
		code = code:gsub('^%-', ''):gsub('%-$', '')
		local kind, rest = code:sub(1, 1), code:sub(2)
		parts[#parts + 1] = ({
			['='] = 'write(tostring(' .. rest .. ' or "")) ',
			['|'] = 'write(pcdata(' .. rest .. ') or "") ',
			[':'] = ('write(pcdata(translate(%q))) '):format(rest),
			['#'] = '',
		})[kind] or code .. ' '
		at = behind
	end
	text(source:sub(at))
	return assert(loadstring(table.concat(parts), path))
end

return function(config)
	local http, renderer, root = {}, {}, { nodes = {} }
	local out = {}

	local class = {
		write = function(_, text) out[#out + 1] = text end,
		getenv = function(_, name) return os.getenv(name) end,
	}
	setmetatable(http, { __index = class })

	function renderer.render(name, scope)
		local template = compile(config.base_path .. '/view/' .. name .. '.html')
		local locals = {
			renderer = renderer,
			http = http,
			pcdata = pcdata,
			translate = function(text) return text end,
			write = function(...) return http:write(...) end,
		}
		setfenv(template, setmetatable({}, {
			__index = function(_, key)
				return scope and scope[key] or locals[key] or _G[key]
			end,
		}))
		template()
	end

	function renderer.render_layout(name, scope, pkg)
		renderer.render('layout', { content = name, scope = scope, pkg = pkg })
	end

	local functions = {
		node = function() return root end,
		call = function(func)
			return function() func(http, renderer) end
		end,
		entry = function(_, target, title, order)
			root.target, root.title, root.order = target, title, order
		end,
	}
	for path in io.popen(("ls '%s'/controller/*.lua"):format(config.base_path)):lines() do
		setfenv(assert(loadfile(path)), setmetatable({}, { __index = setmetatable(functions, { __index = _G }) }))()
	end
	root.target()
	io.write('Content-Type: text/html\r\n\r\n', table.concat(out))
end
