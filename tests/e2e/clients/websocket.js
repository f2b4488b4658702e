// usage: websocket.js PROXY_PORT URL MESSAGE...   Node's ws through CONNECT; says the messages one by one and prints each answer.
const http = require('http');
const WebSocket = require('ws');
const [proxy, url, ...messages] = process.argv.slice(2);
const where = new URL(url);
const asked = http.request({host: '127.0.0.1', port: proxy, method: 'CONNECT', path: where.host});
asked.on('connect', (answer, socket) => {
  const agent = new http.Agent();
  agent.createConnection = () => socket;
  const ws = new WebSocket(url, {agent, perMessageDeflate: {threshold: 0}});
  const next = () => messages.length ? ws.send(messages.shift()) : ws.close(1000, 'enough');
  ws.on('open', next);
  ws.on('message', (data, binary) => { console.log((binary ?? Buffer.isBuffer(data)) ? data.toString() : String(data)); next(); });
  ws.on('close', (code, reason) => { console.log(code, String(reason)); process.exit(0); });
});
asked.end();
