// Shakes hands with each host through an HTTP proxy and says whether Node's tls accepted the certificate. usage: tls.js PROXYPORT CAFILE HOST...
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const net = require('net');
const tls = require('tls');

const [port, file, ...hosts] = process.argv.slice(2);
const ca = fs.readFileSync(file);

function tunnel(host) {
  return new Promise((resolve, reject) => {
    http.request({ host: '127.0.0.1', port, method: 'CONNECT', path: `${net.isIPv6(host) ? `[${host}]` : host}:443`, agent: false })
      .on('connect', (response, socket) => (response.statusCode === 200 ? resolve(socket) : reject(new Error(`CONNECT: ${response.statusCode}`))))
      .on('error', reject).end();
  });
}

// Node 18.20 refuses every certificate for an IPv6 address, whatever it says; there OpenSSL's own check is asked, through Node.
const broken = tls.checkServerIdentity('::1', { subject: { CN: 'x' }, subjectaltname: 'IP Address:0:0:0:0:0:0:0:1' }) !== undefined;
function checkIPv6(host, certificate) {
  return new crypto.X509Certificate(certificate.raw).checkIP(host) ? undefined : new Error(`the certificate is not for ${host}`);
}

async function main() {
  for (const host of hosts) {
    const socket = await tunnel(host);
    const name = net.isIP(host) ? { host } : { host, servername: host };
    if (net.isIPv6(host) && broken) name.checkServerIdentity = checkIPv6;
    console.log(await new Promise((resolve) => {
      const secure = tls.connect({ socket, ca, ...name }, () => { resolve(`accepted ${host}`); secure.destroy(); });
      secure.on('error', (e) => { resolve(`refused ${host} ${e.message}`); secure.destroy(); });
    }));
  }
}

main().catch((e) => { console.error(e); process.exitCode = 1; });
