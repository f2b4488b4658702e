"""Shakes hands with each host through an HTTP proxy, as strictly as Python 3.13 does by default, and says whether the certificate was
accepted. usage: tls.py PROXYPORT CAFILE HOST..."""
import http.client
import ssl
import sys

context = ssl.create_default_context(cafile=sys.argv[2])
context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
for host in sys.argv[3:]:
    tunnel = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
    tunnel.set_tunnel(f"[{host}]" if ":" in host else host, 443)
    tunnel.connect()
    try:
        context.wrap_socket(tunnel.sock, server_hostname=host).close()
        print("accepted", host)
    except ssl.SSLCertVerificationError as e:
        print("refused", host, e.verify_message)
    tunnel.close()
