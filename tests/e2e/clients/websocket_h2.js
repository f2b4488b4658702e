// usage: websocket_h2.js serve PEM KEY PORT_FILE        an origin of HTTP/2 that takes WebSockets as RFC 8441 has it, and answers in capitals or backwards
//        websocket_h2.js talk PROXY_PORT CA URL SAYS... through CONNECT; prints each answer, then how it ended
// Node's http2 carries the streams, its ws the frames.
const fs = require('fs');
const http = require('http');
const http2 = require('http2');
const tls = require('tls');
const WebSocket = require('ws');

// A WebSocket that stands already: ws takes any duplex stream for one.
function over(stream, server) {
  const ws = new WebSocket(null);
  stream.setNoDelay = () => {};
  ws._isServer = server;
  ws.setSocket(stream, Buffer.alloc(0), {maxPayload: 1 << 28, skipUTF8Validation: false});
  return ws;
}

function serve(pem, key, portFile) {
  const server = http2.createSecureServer({cert: fs.readFileSync(pem), key: fs.readFileSync(key), settings: {enableConnectProtocol: true}, allowHTTP1: false});
  server.on('stream', (stream, head) => {
    stream.on('error', () => {});
    if (head[':protocol'] === 'websocket' && head[':path'] === '/talk') {
      stream.respond({':status': 200});
      const ws = over(stream, true);
      ws.on('message', (data, binary) => ws.send(binary ? Buffer.from(data).reverse() : data.toString().toUpperCase()));
    } else if (head[':method'] === 'CONNECT') {
      stream.respond({':status': 403, 'content-type': 'text/plain'});
      stream.end('not here');
    } else {
      const page = PAGES[head[':path']];
      stream.respond({':status': page ? 200 : 404, 'content-type': head[':path'].endsWith('.js') ? 'text/javascript' : 'text/html'});
      stream.end(page || '');
    }
  });
  server.listen(0, '127.0.0.1', () => { fs.writeFileSync(portFile + '.new', String(server.address().port)); fs.renameSync(portFile + '.new', portFile); });
}

const PAGES = {
  '/index.html': '<!doctype html><title>x</title><link rel="icon" href="data:,"><p id="a">waiting</p><script src="app.js"></script>',
  '/app.js': `
    const said = [];
    const ws = new WebSocket('wss://' + location.host + '/talk');
    ws.onopen = () => ws.send('one');
    ws.onmessage = e => { said.push(e.data); said.length < 3 ? ws.send('more ' + said.length) : ws.close(1000, 'enough'); };
    ws.onclose = e => { document.getElementById('a').textContent = 'done: ' + said.join(', ') + ' ' + e.code + e.reason; };`,
};

function meant(say) {
  if (say.startsWith('hex:'))
    return Buffer.from(say.slice(4), 'hex');
  return say.startsWith('long:') ? 'x'.repeat(say.slice(5)) : say;
}

function talk(proxy, ca, url, ...says) {
  const where = new URL(url);
  const asked = http.request({host: '127.0.0.1', port: proxy, method: 'CONNECT', path: where.host});
  asked.on('connect', (answer, plain) => {
    const socket = tls.connect({socket: plain, servername: where.hostname, ALPNProtocols: ['h2'], ca: fs.readFileSync(ca)}, () => {
      const session = http2.connect(url, {createConnection: () => socket});
      session.on('remoteSettings', settings => {
        console.log(settings.enableConnectProtocol ? 'offered' : 'not offered');
        if (!settings.enableConnectProtocol) { session.close(); return; }
        const stream = session.request({':method': 'CONNECT', ':protocol': 'websocket', ':path': where.pathname, 'sec-websocket-version': '13'}, {endStream: false});
        stream.on('error', e => { console.log(e.code); session.destroy(); });
        stream.on('response', head => {
          console.log(head[':status'], head['upgrade'] || '-', head['sec-websocket-accept'] || '-');
          if (head[':status'] !== 200) { stream.on('data', d => console.log(String(d))); stream.on('close', () => session.close()); stream.end(); return; }
          const ws = over(stream, false);
          const next = () => says.length ? ws.send(meant(says.shift())) : ws.close(1000, 'enough');
          ws.on('message', (data, binary) => { console.log(binary ? data.toString('hex') : data.toString()); next(); });
          ws.on('close', (code, reason) => { console.log(code, String(reason)); session.close(); });
          next();
        });
      });
    });
  });
  asked.end();
}

const [what, ...rest] = process.argv.slice(2);
({serve, talk})[what](...rest);
