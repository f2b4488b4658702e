// What a client says in turns with clients/signs.go: every event is answered by a sign before the next may come; a long poll is open while what it
// waits for is said. usage: signs.js fetch|http2 events|poll BASE
const http = require('http');
const http2 = require('http2');
const tls = require('tls');

const [how, what, base] = process.argv.slice(2);

// Each client is: ask(path, body) -> {status, type, pieces}, and close().
function byFetch() {
  let undici;
  try { undici = require('undici'); } catch { undici = require('/usr/share/nodejs/undici'); }
  const agent = new undici.ProxyAgent(process.env.https_proxy);
  return {
    async ask(path, body) {
      const r = await undici.fetch(base + path, { dispatcher: agent, ...(body === undefined ? {} : { method: 'POST', body }) });
      return { status: r.status, type: r.headers.get('content-type'), pieces: r.body || [] };
    },
    close: () => agent.close(),
  };
}

// All streams of one connection.
async function byHttp2() {
  const url = new URL(base);
  const proxy = new URL(process.env.https_proxy);
  const socket = await new Promise((resolve, reject) => {
    http.request({ host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: url.host, agent: false })
      .on('connect', (_, plain) => {
        const secure = tls.connect({ socket: plain, servername: url.hostname, ALPNProtocols: ['h2'] }, () => resolve(secure));
        secure.on('error', reject);
      }).on('error', reject).end();
  });
  const session = http2.connect(base, { createConnection: () => socket });
  return {
    ask(path, body) {
      const stream = session.request({ ':method': body === undefined ? 'GET' : 'POST', ':path': path });
      stream.end(body);
      return new Promise((resolve, reject) => {
        stream.on('error', reject);
        stream.on('response', (fields) => resolve({ status: fields[':status'], type: fields['content-type'], pieces: stream }));
      });
    },
    close: () => session.close(),
  };
}

async function text(answer) {
  const parts = [];
  for await (const piece of answer.pieces) parts.push(Buffer.from(piece));
  return `${answer.status} ${Buffer.concat(parts)}`;
}

async function events(client) {
  const answer = await client.ask('/events?run=node');
  console.log(answer.status, answer.type);
  let waiting = Buffer.alloc(0);
  let n = 0;
  for await (const piece of answer.pieces) {
    waiting = Buffer.concat([waiting, piece]);
    for (let found; (found = /\n\n|\r\n\r\n/.exec(waiting.toString('latin1'))) !== null;) {
      const end = found.index + found[0].length;
      const event = waiting.subarray(0, end);
      waiting = waiting.subarray(end);
      console.log(event.length, JSON.stringify(event.toString().slice(0, 60)));
      if (event.includes('data')) console.log('sign', await text(await client.ask(`/sign?run=node&n=${n++}`)));
    }
  }
  console.log('rest', waiting.length);
}

async function poll(client) {
  for (let n = 0; n < 3; n++) { // one client goes on asking
    const asked = client.ask(`/poll?run=node&n=${n}`).then(text);
    console.log(await text(await client.ask(`/tell?run=node&n=${n}`, 'this')));
    console.log(await asked);
  }
}

(async () => {
  const client = await { fetch: byFetch, http2: byHttp2 }[how]();
  await { events, poll }[what](client);
  await client.close();
})().catch((e) => { console.error(e); process.exitCode = 1; });
