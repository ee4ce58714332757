# SPDX-License-Identifier: ISC
"""`lab watch`: a lab as a page in the browser, which shows what happens and lets one do it.

picture.py has what the page is told and what changed; mesh.py asks a lab for it and acts on it; flows.py has a
connection of each client and its stalls, costs.py babel's costs of the links; server.py is the web server. The page
is in page/. It is drawn with d3, which sdk/setup.sh brings from Debian.
"""
