import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/** Shakes hands with each host through an HTTP proxy, verifying as HTTPS does, and says whether the certificate was accepted.
 * usage: TlsClient PROXYPORT CAFILE HOST... */
public class TlsClient {
    public static void main(String[] args) throws Exception {
        KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (InputStream in = Files.newInputStream(Path.of(args[1]))) {
            roots.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        for (int i = 2; i < args.length; i++) {
            try {
                handshake(context, Integer.parseInt(args[0]), args[i]);
                System.out.println("accepted " + args[i]);
            } catch (javax.net.ssl.SSLHandshakeException e) {
                System.out.println("refused " + args[i] + " " + e.getMessage());
            }
        }
    }

    private static void handshake(SSLContext context, int proxyPort, String host) throws Exception {
        try (Socket plain = new Socket(InetAddress.getLoopbackAddress(), proxyPort)) {
            String target = (host.contains(":") ? "[" + host + "]" : host) + ":443";
            plain.getOutputStream().write(("CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n").getBytes(StandardCharsets.US_ASCII));
            ByteArrayOutputStream head = new ByteArrayOutputStream();
            while (!head.toString(StandardCharsets.ISO_8859_1).endsWith("\r\n\r\n")) {
                int c = plain.getInputStream().read();
                if (c < 0) {
                    throw new java.io.EOFException("the proxy hung up");
                }
                head.write(c);
            }
            if (!head.toString(StandardCharsets.ISO_8859_1).startsWith("HTTP/1.1 200 ")) {
                throw new java.io.IOException(head.toString(StandardCharsets.ISO_8859_1));
            }
            SSLSocket secure = (SSLSocket) context.getSocketFactory().createSocket(plain, host, 443, true);
            SSLParameters parameters = secure.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            secure.setSSLParameters(parameters);
            secure.startHandshake();
        }
    }
}
