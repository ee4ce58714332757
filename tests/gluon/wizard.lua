-- SPDX-License-Identifier: ISC
-- A page of the config wizard, by itself: `wizard.lua PAGE` prints what it asks, `wizard.lua PAGE NAME=VALUE...` sends
-- it these fields, as a browser sends what is ticked and shown, and prints `valid` or `invalid`. The classes are
-- Gluon's where LUA_PATH has them.

local classes = require 'gluon.web.model.classes'
local uci = require('simple-uci').cursor()

local page, sent = arg[1], {}
for i = 2, #arg do
	local name, value = arg[i]:match('^([^=]+)=(.*)$')
	sent[name or 'form'] = value
end

local http = {}
function http.getenv()
	return 'POST'
end
function http.formvalue(_, id)
	return id:match('xlat464') and sent[id:match('[^.]+$')] or not id:match('xlat464') and '1' or nil
end

local function translate(text)
	return text
end

local load_page = setfenv(assert(loadfile(page)), setmetatable({
	i18n = function(package)
		assert(package == 'gluon-config-mode-464xlat-plat')
		return { translate = translate }
	end,
}, {
	__index = function(_, key)
		return classes[key] or _G[key]
	end,
}))

local form = classes.Form('form', nil, 'form')
load_page()(form, uci)
if #arg > 1 then
	form:parse(http)
	form:handle()
	print(form.state == classes.FORM_VALID and 'valid' or 'invalid')
	return
end
for _, section in ipairs(form.children) do
	print(section.description)
	for _, option in ipairs(section.children) do
		print(('%s\t%s\t%s'):format(option.name, option.title, tostring(option.default)))
	end
end
