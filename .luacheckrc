-- SPDX-License-Identifier: ISC
std = 'lua51'

-- what Gluon's check-site.lua gives a check_site.lua
files['package/**/check_site.lua'] = {
	read_globals = { 'in_domain', 'need', 'need_array', 'need_boolean', 'need_one_of', 'need_string' },
}

-- what Gluon's web model gives a page of the wizard
files['package/**/config-mode/wizard/*.lua'] = {
	read_globals = { 'Flag', 'Section', 'Value', 'i18n' },
}

-- what Gluon gives an image-customization.lua
files['docs/site-example/image-customization.lua'] = {
	read_globals = { 'device_class', 'features', 'packages', 'target' },
}

-- what Gluon gives a file of feature flags
files['features'] = {
	read_globals = { '_', 'feature', 'when' },
}

-- what gluon-web gives a controller
for _, folder in ipairs({ 'package', 'tests' }) do
	files[folder .. '/**/controller/*.lua'] = {
		read_globals = { 'call', 'entry', 'node' },
	}
end
