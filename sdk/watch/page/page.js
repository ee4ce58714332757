// SPDX-License-Identifier: ISC
// Draws what the server tells of a lab, and asks it to do what is done with the mouse. d3 places the nodes, once.
'use strict';

const NODE = 22, CLIENT = 6, NEAR = 9; // pixels
const STALL_MS = 300;
const NO_EXIT = '#999';
const canvas = document.getElementById('mesh');
const pen = canvas.getContext('2d');
const colours = d3.scale.category10();
const places = new Map(); // of nodes and clients, by kind and name
let picture = null, chosen = null, dragged = null, mouse = null;

const place = (kind, name) => places.get(kind + ' ' + name);
const size = () => [canvas.clientWidth, canvas.clientHeight];

function layOut() {
	const nodes = picture.nodes.map(node => ({ name: node.name }));
	const index = new Map(nodes.map((node, i) => [node.name, i]));
	const links = picture.links.map(link => ({ source: index.get(link.a), target: index.get(link.b) }));
	const force = d3.layout.force().nodes(nodes).links(links).size([1000, 1000]).charge(-9000 / Math.sqrt(nodes.length))
		.linkDistance(900 / Math.sqrt(nodes.length)).gravity(.12).start();
	for (let i = 0; i < 300; i++) force.tick();
	force.stop();
	const [left, right] = d3.extent(nodes, node => node.x), [top, bottom] = d3.extent(nodes, node => node.y);
	for (const node of nodes) // from 0 to 1 in the room that there is
		places.set('node ' + node.name, { u: (node.x - left) / (right - left || 1), v: (node.y - top) / (bottom - top || 1) });
}

function moveNodes() {
	const [width, height] = size(), margin = Math.min(90, width / 6);
	for (const node of picture.nodes) {
		const at = place('node', node.name);
		at.x = margin + at.u * (width - 2 * margin);
		at.y = margin + at.v * (height - 2 * margin);
	}
}

// Where a client belongs: on rings around its node, a slot for each.
function clientTargets() {
	const slots = new Map(), nodeOf = client => client.node || client.home;
	const counts = d3.nest().key(nodeOf).rollup(all => all.length).map(picture.clients, d3.map);
	for (const client of picture.clients) {
		const at = place('node', nodeOf(client)), slot = slots.get(at) || 0;
		slots.set(at, slot + 1);
		const step = 2 * Math.PI / Math.min(12, counts.get(nodeOf(client)));
		const ring = Math.floor(slot / 12), angle = (slot % 12) * step + ring * Math.PI / 12 - Math.PI / 2;
		const key = 'client ' + client.name, radius = NODE + 18 + 15 * ring;
		if (!places.has(key)) places.set(key, { x: at.x, y: at.y });
		Object.assign(places.get(key), { toX: at.x + Math.cos(angle) * radius, toY: at.y + Math.sin(angle) * radius });
	}
}

function text(words, x, y, colour = '#222', align = 'center') {
	pen.textAlign = align;
	pen.lineWidth = 3;
	pen.strokeStyle = 'rgba(255,255,255,.85)';
	pen.strokeText(words, x, y);
	pen.fillStyle = colour;
	pen.fillText(words, x, y);
}

const isLost = link => link.cut || link.costs.every(cost => cost === null || cost >= 65535);
const costText = cost => cost === null ? '-' : cost >= 65535 ? '∞' : String(cost);
const exitColour = name => name === null ? NO_EXIT : colours(name);

function drawLink(link, isDense) {
	const a = place('node', link.a), b = place('node', link.b);
	pen.setLineDash(isLost(link) ? [5, 6] : []);
	pen.strokeStyle = link.cut ? '#d03030' : isLost(link) ? '#bbb' : '#889';
	pen.lineWidth = chosen && chosen.kind === 'link' && chosen.name === link.name ? 5 : 2;
	pen.beginPath();
	pen.moveTo(a.x, a.y);
	pen.lineTo(b.x, b.y);
	pen.stroke();
	pen.setLineDash([]);
	const [one, other] = link.costs.map(costText);
	if (!isDense) text(link.cut ? 'cut' : one === other ? one : one + ' / ' + other, (a.x + b.x) / 2, (a.y + b.y) / 2 + 4, link.cut ? '#d03030' : '#667');
}

function drawNode(node, isDense) {
	const at = place('node', node.name), isExit = node.role === 'plat' || node.role === 'both', radius = isDense ? 12 : NODE;
	pen.beginPath();
	if (isExit) pen.rect(at.x - radius, at.y - radius, 2 * radius, 2 * radius);
	else pen.arc(at.x, at.y, radius, 0, 2 * Math.PI);
	pen.fillStyle = !node.alive ? '#ddd' : node.role === 'plat' ? colours(node.name) : node.role === 'plain' ? '#fff' : exitColour(node.exit);
	pen.fill();
	pen.strokeStyle = !node.alive || node.missing.length ? '#d03030' : '#333';
	pen.lineWidth = chosen && chosen.kind === 'node' && chosen.name === node.name ? 5 : 2;
	pen.stroke();
	if (!node.alive) {
		pen.beginPath();
		pen.moveTo(at.x - radius, at.y - radius);
		pen.lineTo(at.x + radius, at.y + radius);
		pen.moveTo(at.x + radius, at.y - radius);
		pen.lineTo(at.x - radius, at.y + radius);
		pen.stroke();
	}
	pen.textAlign = 'center';
	pen.fillStyle = node.alive && node.role !== 'plain' ? '#fff' : '#222';
	pen.fillText(node.name, at.x, at.y + 4);
}

function drawClient(client, isDense) {
	const at = place('client', client.name), isStalled = client.stall_ms >= STALL_MS;
	pen.beginPath();
	pen.arc(at.x, at.y, isDense ? CLIENT - 1 : CLIENT, 0, 2 * Math.PI);
	pen.fillStyle = isStalled ? '#d03030' : client.served ? '#2a8f4c' : '#e0a010';
	pen.fill();
	if (isStalled) {
		pen.beginPath();
		pen.arc(at.x, at.y, CLIENT + Math.min(14, client.stall_ms / 200), 0, 2 * Math.PI);
		pen.strokeStyle = '#d03030';
		pen.lineWidth = 2;
		pen.stroke();
	}
	if (!isDense || dragged === client.name) text(client.name + (isStalled ? ' ' + (client.stall_ms / 1000).toFixed(1) + ' s' : ''), at.x, at.y - 10);
}

function draw() {
	requestAnimationFrame(draw);
	if (!picture) return;
	const [width, height] = size(), ratio = window.devicePixelRatio;
	if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
		canvas.width = Math.round(width * ratio);
		canvas.height = Math.round(height * ratio);
		moveNodes();
		clientTargets();
	}
	pen.setTransform(ratio, 0, 0, ratio, 0, 0);
	pen.clearRect(0, 0, width, height);
	const isDense = picture.nodes.length > 20 || picture.clients.length > 40;
	pen.font = isDense ? '11px sans-serif' : '13px sans-serif';
	for (const link of picture.links) drawLink(link, isDense);
	for (const node of picture.nodes) drawNode(node, isDense);
	for (const client of picture.clients) {
		const at = place('client', client.name);
		if (dragged === client.name && mouse) [at.x, at.y] = mouse;
		else {
			at.x += (at.toX - at.x) * .12;
			at.y += (at.toY - at.y) * .12;
		}
		drawClient(client, isDense);
	}
}

// Text alone is put into the page, never markup: names are a topology file's.
function fill(list, rows, tag, cell) {
	list.replaceChildren(...rows.map(row => {
		const line = document.createElement(tag);
		line.append(...row.map(words => {
			const part = document.createElement(cell(words));
			part.textContent = words;
			return part;
		}));
		return line;
	}));
}

function showSide() {
	document.getElementById('title').textContent = document.title = 'lab ' + picture.name;
	const stalls = [...picture.clients].sort((a, b) => b.breaks - a.breaks || b.longest_ms - a.longest_ms).slice(0, 8);
	const broken = count => count ? count + ' broke' : 'open';
	fill(document.getElementById('flows'), stalls.map(each => [each.name, broken(each.breaks), (each.longest_ms / 1000).toFixed(2) + ' s']), 'tr', () => 'td');
	fill(document.getElementById('said'), [...picture.said].reverse().map(([at, words]) => [at.toFixed(1) + ' s', ' ' + words]), 'li', words => words.startsWith(' ') ? 'span' : 'b');
	showChosen();
}

const ABOUT = {
	link: each => [each.a + ' – ' + each.b + ', costs ' + each.costs.map(costText).join(' and '), each.cut ? 'Mend' : 'Cut', each.cut ? 'mend' : 'cut'],
	node: each => [
		each.role + ', ' + (!each.alive ? 'off' : each.missing.length ? 'without ' + each.missing.join(', ') : 'up') +
		(each.exit ? '; exit ' + each.exit + ': ' + each.why : ''), each.alive ? 'Power off' : 'Power on', each.alive ? 'kill' : 'start'],
	client: each => [(each.address || 'no IPv4') + ' at ' + (each.node || 'no node') + (each.served ? '' : ', not served yet')],
};

function showChosen() {
	const section = document.getElementById('chosen');
	const found = chosen && picture[chosen.kind + 's'].find(each => each.name === chosen.name);
	section.hidden = !found;
	if (!found) return;
	const [about, label, verb] = ABOUT[chosen.kind](found), button = section.querySelector('button');
	section.querySelector('h2').textContent = chosen.kind + ' ' + chosen.name;
	section.querySelector('p').textContent = about;
	button.hidden = !label;
	button.textContent = label || '';
	button.onclick = () => act(verb, chosen.name);
}

async function act(verb, ...what) {
	const answer = await fetch('act', { method: 'POST', body: JSON.stringify({ do: verb, what }) }).catch(error => error);
	document.getElementById('refusal').textContent = answer.ok ? '' : answer.text ? await answer.text() : String(answer);
}

const distance = (at, [x, y]) => at ? Math.hypot(at.x - x, at.y - y) : Infinity;

function fromLink(link, [x, y]) {
	const a = place('node', link.a), b = place('node', link.b), dx = b.x - a.x, dy = b.y - a.y;
	const along = Math.max(0, Math.min(1, ((x - a.x) * dx + (y - a.y) * dy) / (dx * dx + dy * dy || 1)));
	return Math.hypot(a.x + along * dx - x, a.y + along * dy - y);
}

function nearest(kind, most, at) {
	let found = null;
	for (const each of picture[kind + 's']) {
		const away = kind === 'link' ? fromLink(each, at) : distance(place(kind, each.name), at);
		if (away <= most) [found, most] = [{ kind, name: each.name }, away];
	}
	return found;
}

const position = event => [event.offsetX, event.offsetY];

canvas.addEventListener('pointerdown', event => {
	if (!picture) return;
	mouse = position(event);
	chosen = nearest('client', NEAR, mouse) || nearest('node', NODE, mouse) || nearest('link', NEAR, mouse);
	dragged = chosen && chosen.kind === 'client' ? chosen.name : null;
	if (dragged) canvas.setPointerCapture(event.pointerId);
	showChosen();
});
canvas.addEventListener('pointermove', event => {
	mouse = position(event);
	if (picture) canvas.style.cursor = dragged ? 'grabbing' : nearest('client', NEAR, mouse) ? 'grab' : nearest('node', NODE, mouse) || nearest('link', NEAR, mouse) ? 'pointer' : 'default';
});
canvas.addEventListener('pointerup', event => {
	if (!dragged) return;
	const client = picture.clients.find(each => each.name === dragged), target = nearest('node', 3 * NODE, position(event));
	if (target && target.name !== client.node) act('roam', client.name, target.name);
	dragged = null;
});

const events = new EventSource('events');
events.onmessage = event => {
	const isFirst = picture === null;
	picture = JSON.parse(event.data);
	if (isFirst) {
		layOut();
		moveNodes();
	}
	clientTargets();
	showSide();
};
const end = words => { document.getElementById('refusal').textContent = words; };
events.addEventListener('over', event => { events.close(); end(event.data); });
events.onerror = () => end('lab watch does not answer');
events.onopen = () => end('');
requestAnimationFrame(draw);
