// Fetches each URL with `fetch` (undici), `https` or `http2` through the proxy of the environment; prints status, every header field and the
// body's digest. usage: client.js fetch|https|http2 URL...    a URL that ends in /post is posted to
//                       client.js grpc URL TURNS              one call: each message after the answer to the last
const crypto = require('crypto');
const http = require('http');
const http2 = require('http2');
const tls = require('tls');

const proxy = new URL(process.env.https_proxy);
const body = '{"b": 2, "a": [1, 2, 3]}';

// `fields`: [name, value, name, value, ...]
function show(url, status, reason, fields, data) {
  console.log(url, status, reason);
  for (let i = 0; i < fields.length; i += 2) console.log('   ', JSON.stringify(fields[i]), JSON.stringify(fields[i + 1]));
  console.log('   ', data.length, crypto.createHash('sha256').update(data).digest('hex'), JSON.stringify(data.subarray(0, 40).toString('latin1')));
}

// `fetch`: Node's own takes the proxy from the environment since 24; before that, undici from Debian's node-undici does.
async function withFetch(urls) {
  let undici;
  try { undici = require('undici'); } catch { undici = require('/usr/share/nodejs/undici'); }
  const agent = new undici.ProxyAgent(process.env.https_proxy);
  for (const url of urls) {
    const r = await undici.fetch(url, { dispatcher: agent, ...(url.endsWith('/post') ? { method: 'POST', body } : {}) });
    show(url, r.status, r.statusText, [...r.headers].flat(), Buffer.from(await r.arrayBuffer()));
  }
  await agent.close();
}

function connect(url, options) {
  return new Promise((resolve, reject) => {
    http.request({ host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: url.host, agent: false })
      .on('connect', (response, socket) => {
        if (response.statusCode !== 200) return reject(new Error(`CONNECT: ${response.statusCode}`));
        const secure = tls.connect({ socket, servername: url.hostname, ...options }, () => resolve(secure));
        secure.on('error', reject);
      }).on('error', reject).end();
  });
}

async function withHttps(urls) {
  for (const text of urls) {
    const url = new URL(text);
    const options = { method: text.endsWith('/post') ? 'POST' : 'GET', headers: { host: url.host, connection: 'close' } };
    if (url.protocol === 'https:') {
      const socket = await connect(url);
      Object.assign(options, { createConnection: () => socket, path: url.pathname });
    } else {
      Object.assign(options, { host: proxy.hostname, port: proxy.port, path: text });
    }
    await new Promise((resolve, reject) => {
      const request = http.request(options, (response) => {
        const parts = [];
        response.on('data', (d) => parts.push(d)).on('error', reject).on('end', () => {
          show(text, response.statusCode, response.statusMessage, response.rawHeaders, Buffer.concat(parts));
          resolve();
        });
      }).on('error', reject);
      request.end(options.method === 'POST' ? body : undefined);
    });
  }
}

// All URLs are of one origin: its streams share one connection.
async function withHttp2(urls) {
  const origin = new URL(urls[0]);
  const socket = await connect(origin, { ALPNProtocols: ['h2'] });
  const session = http2.connect(origin, { createConnection: () => socket });
  for (const text of urls) {
    const post = text.endsWith('/post');
    const stream = session.request({ ':method': post ? 'POST' : 'GET', ':path': new URL(text).pathname });
    await new Promise((resolve, reject) => {
      const parts = [];
      let fields;
      stream.on('response', (headers, flags, raw) => { fields = raw; }).on('data', (d) => parts.push(d)).on('error', reject).on('end', () => {
        show(text, fields[1], '', fields.slice(2), Buffer.concat(parts));
        resolve();
      });
      stream.end(post ? body : undefined);
    });
  }
  session.close();
}

// A gRPC call (no library: its messages are five bytes of prefix and their bytes).
async function withGrpc([text, turns]) {
  const url = new URL(text);
  const socket = await connect(url, { ALPNProtocols: ['h2'] });
  const session = http2.connect(url, { createConnection: () => socket });
  const stream = session.request({ ':method': 'POST', ':path': url.pathname, 'content-type': 'application/grpc', te: 'trailers' });
  const say = (turn) => {
    const message = Buffer.from(`turn ${turn}`);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    stream.write(Buffer.concat([prefix, message]));
  };
  let got = Buffer.alloc(0);
  let turn = 1;
  await new Promise((resolve, reject) => {
    stream.setTimeout(20000, () => reject(new Error('no answer')));
    stream.on('response', (headers) => console.log(headers[':status'], headers['content-type'])).on('error', reject).on('end', resolve)
      .on('trailers', (trailers) => console.log('grpc-status', trailers['grpc-status']))
      .on('data', (data) => {
        got = Buffer.concat([got, data]);
        while (got.length >= 5 && got.length >= 5 + got.readUInt32BE(1)) {
          const end = 5 + got.readUInt32BE(1);
          console.log(got.subarray(5, end).toString());
          got = got.subarray(end);
          if (turn++ < turns) say(turn); else stream.end();
        }
      });
    say(turn);
  }).catch((e) => { session.destroy(); throw e; });
  session.close();
}

({ fetch: withFetch, https: withHttps, http2: withHttp2, grpc: withGrpc })[process.argv[2]](process.argv.slice(3))
  .catch((e) => { console.error(e); process.exitCode = 1; });
