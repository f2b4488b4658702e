// An origin of every shape of answer, over TLS (HTTP/2 and HTTP/1.1) and in clear (HTTP/1.1, and HTTP/2 on a port of its own), that notes each request as a
// line of JSON before it answers: fields as they came, in their order and case.
// usage: node shapes.js CERT KEY SEEN-FILE PORT-FILE        PORT-FILE gets "TLS-PORT CLEAR-PORT CLEAR-HTTP2-PORT"
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const http2 = require('http2');
const zlib = require('zlib');

const [cert, key, seenFile, portFile] = process.argv.slice(2);

function pairs(raw) {
  const list = [];
  for (let i = 0; i < raw.length; i += 2) list.push([raw[i], raw[i + 1]]);
  return list;
}

function note(request, url, body) {
  const line = {
    cell: url.searchParams.get('cell'), method: request.method, target: request.url, version: `HTTP/${request.httpVersion}`,
    host: request.headers[':authority'] ?? request.headers.host, fields: pairs(request.rawHeaders), size: body.length,
    digest: crypto.createHash('sha256').update(body).digest('hex'), trailers: pairs(request.rawTrailers),
  };
  fs.appendFileSync(seenFile, JSON.stringify(line) + '\n');
}

function pattern(n) {
  const data = Buffer.alloc(n);
  for (let i = 0; i < n; i++) data[i] = i * 7;
  return data;
}

function whole(response, status, data, fields = {}) {
  response.writeHead(status, { 'Content-Length': data.length, ...fields });
  response.end(data);
}

// In pieces, each given when the one before has left.
function pieces(response, data, end = () => response.end()) {
  if (!data.length) return end();
  const n = Math.min((data.length + 1) >> 1, 65536);
  response.write(data.subarray(0, n), () => pieces(response, data.subarray(n), end));
}

function unknown(response, data, end) {
  response.writeHead(200);
  if (response.flushHeaders) response.flushHeaders();
  pieces(response, data, end);
}

function ranged(request, response, data) {
  const [, from, to] = (request.headers.range ?? '').match(/^bytes=(\d+)-(\d+)$/) ?? [];
  if (from === undefined || +to >= data.length) return whole(response, 416, Buffer.alloc(0), { 'Content-Range': `bytes */${data.length}` });
  whole(response, 206, data.subarray(+from, +to + 1), { 'Content-Range': `bytes ${from}-${to}/${data.length}` });
}

const answers = {
  echo: (request, response, n, body) => whole(response, 200, body),
  length: (request, response, n) => whole(response, 200, pattern(n)),
  unknown: (request, response, n) => unknown(response, pattern(n)),
  'until-close': (request, response, n) => {
    response.shouldKeepAlive = false;
    response.removeHeader('Transfer-Encoding');
    unknown(response, pattern(n));
  },
  trailers: (request, response, n) => {
    response.setHeader('Trailer', 'X-Sum, x-other');
    unknown(response, pattern(n), () => {
      response.addTrailers({ 'X-Sum': '42', 'x-other': 'a' });
      response.end();
    });
  },
  gzip: (request, response, n) => whole(response, 200, zlib.gzipSync(pattern(n)), { 'Content-Encoding': 'gzip', Vary: 'Accept-Encoding' }),
  hints: (request, response, n) => {
    response.writeEarlyHints({ link: '</a.css>; rel=preload' });
    response.writeEarlyHints({ link: ['</a.css>; rel=preload', '</b.css>; rel=preload'], 'x-more': '1' });
    whole(response, 200, pattern(n));
  },
  range: (request, response) => ranged(request, response, pattern(1000)),
  fields: (request, response) => whole(response, 200, pattern(10), {
    'Set-Cookie': ['a=1; Path=/', 'b=2; HttpOnly', 'a=3'], 'x-eMpty': '', 'X-Latin': 'caf\xe9', 'X-Long': '0123456789'.repeat(800),
  }),
  status: (request, response, n) => {
    response.setHeader('ETag', '"v1"');
    if (n !== 204 && n !== 304) return whole(response, n, Buffer.from(`status ${n}\n`));
    response.removeHeader('Content-Type');
    response.writeHead(n);
    response.end();
  },
};

function serve(request, response) {
  const parts = [];
  request.on('data', (d) => parts.push(d)).on('end', () => {
    const url = new URL(request.url, 'http://localhost');
    const [, shape, n] = url.pathname.split('/');
    const body = Buffer.concat(parts);
    note(request, url, body);
    response.sendDate = false;
    response.setHeader('Content-Type', 'application/x-test');
    (answers[shape] ?? ((_, r) => whole(r, 404, Buffer.alloc(0))))(request, response, +n, body);
  });
}

const servers = [
  http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), allowHTTP1: true }, serve),
  http.createServer(serve),
  http2.createServer(serve),
];
let left = servers.length;
for (const server of servers) {
  server.listen(0, '127.0.0.1', () => {
    if (--left) return;
    fs.writeFileSync(portFile + '.new', servers.map((s) => s.address().port).join(' '));
    fs.renameSync(portFile + '.new', portFile);
  });
}
