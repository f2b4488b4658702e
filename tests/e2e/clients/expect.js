// Sends what it has only when the server has asked for it: Expect: 100-continue over HTTP/2 (Node), through the proxy of the environment.
// usage: expect.js URL BYTES
const http = require('http');
const http2 = require('http2');
const tls = require('tls');

const url = new URL(process.argv[2]);
const proxy = new URL(process.env.https_proxy);

http.request({ host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: url.host, agent: false }).on('connect', (_, plain) => {
  const socket = tls.connect({ socket: plain, servername: url.hostname, ALPNProtocols: ['h2'] }, () => {
    const session = http2.connect(url, { createConnection: () => socket });
    const stream = session.request({ ':method': 'POST', ':path': url.pathname, expect: '100-continue' }, { endStream: false });
    const parts = [];
    stream.on('continue', () => {
      console.log('continue');
      stream.end(Buffer.alloc(Number(process.argv[3]), 'u'));
    }).on('response', (fields) => {
      console.log('status', fields[':status']);
      if (!stream.writableEnded) stream.end();
    }).on('data', (piece) => parts.push(piece)).on('end', () => {
      process.stdout.write(Buffer.concat(parts));
      session.close();
    });
  });
}).end();
