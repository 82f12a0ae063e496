// SPDX-License-Identifier: Apache-2.0
// node:http; see README.md for the routes.
'use strict';
const fs = require('node:fs');
const http = require('node:http');

const [where, logPath, host] = process.argv.slice(2);
const log = fs.openSync(logPath, 'a');
const now = () => process.hrtime.bigint();
const FILL = Buffer.alloc(1 << 20, 'abcdefghijklmnopqrstuvwxyz');
const fill = (n) => (n <= FILL.length ? FILL.subarray(0, n) : Buffer.alloc(n, FILL));

function record(req, status, start, nreq, nresp, write = 0) {
	fs.writeSync(log, `${req.method} ${req.url} ${status} ${start} ${now()} ${nreq} ${nresp} ${write}\n`);
}

function reply(req, res, status, body, start, nreq = 0) {
	res.writeHead(status, { 'Content-Length': body.length });
	const sent = req.method === 'HEAD' ? 0 : body.length;
	if (body.length < 65536) {
		const write = now();
		res.end(req.method === 'HEAD' ? undefined : body);
		record(req, status, start, nreq, sent, write);
	} else {
		res.end(req.method === 'HEAD' ? undefined : body, () => record(req, status, start, nreq, sent));
	}
}

function withBody(req, done) {
	const parts = [];
	req.on('data', (d) => parts.push(d));
	req.on('end', () => done(Buffer.concat(parts)));
}

function chunked(req, res, n, start) {
	res.writeHead(200, {});
	for (let at = 0; at < n; at += 30000)
		res.write(fill(Math.min(30000, n - at)));
	res.end(() => record(req, 200, start, 0, n));
}

function drip(req, res, start) {
	let left = 500;
	res.writeHead(200, {});
	const timer = setInterval(() => (left-- > 0 ? res.write('d'.repeat(100)) : res.end()), 10);
	res.on('close', () => {
		clearInterval(timer);
		record(req, 200, start, 0, 0);
	});
}

function abort(req, res, when, start) {
	if (when === 'mid') {
		res.writeHead(200, { 'Content-Length': 1000 });
		res.write('0123456789');
		setTimeout(() => res.socket.destroy(), 20);
	} else if (req.socket.resetAndDestroy && !where.startsWith('/')) {
		req.socket.resetAndDestroy();
	} else {
		req.socket.destroy();
	}
	record(req, when === 'mid' ? 200 : 0, start, 0, 0);
}

const server = http.createServer((req, res) => {
	const start = now();
	const [, what, arg] = req.url.split('?')[0].split('/');

	if (what === 'get')
		reply(req, res, 200, fill(+arg), start);
	else if (what === 'echo')
		withBody(req, (body) => reply(req, res, 200, body, start, body.length));
	else if (what === 'sink')
		withBody(req, (body) => reply(req, res, 200, Buffer.from(String(body.length)), start, body.length));
	else if (what === 'chunked')
		chunked(req, res, +arg, start);
	else if (what === 'delay')
		+arg ? setTimeout(() => reply(req, res, 200, Buffer.from('x'), start), +arg) : reply(req, res, 200, Buffer.from('x'), start);
	else if (what === 'status')
		reply(req, res, +arg, Buffer.from('x'), start);
	else if (what === 'drip')
		drip(req, res, start);
	else if (what === 'abort')
		abort(req, res, arg, start);
	else
		reply(req, res, 404, Buffer.from('no'), start);
});
server.keepAliveTimeout = 60000;
server.listen(where.startsWith('/') ? where : { port: +where, host: host || '127.0.0.1', backlog: 511 });
process.on('SIGTERM', () => process.exit(0));
