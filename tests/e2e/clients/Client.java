import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.MessageDigest;
import java.util.HexFormat;

/** Fetches each URL with java.net.http, whose proxy and trust store come from JAVA_TOOL_OPTIONS; prints status, every header field (sorted
 * by name) and the body's digest. A URL that ends in /post is posted to. */
public class Client {
    public static void main(String[] urls) throws Exception {
        HttpClient client = HttpClient.newBuilder().proxy(java.net.ProxySelector.getDefault()).build();
        for (String url : urls) {
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url));
            if (url.endsWith("/post")) {
                request.POST(HttpRequest.BodyPublishers.ofString("{\"b\": 2, \"a\": [1, 2, 3]}"));
            }
            HttpResponse<byte[]> r = client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
            byte[] body = r.body();
            System.out.println(url + " " + r.version() + " " + r.statusCode());
            r.headers().map().forEach((name, values) -> System.out.println("    " + name + " " + values));
            System.out.println("    " + body.length + " " + HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body))
                + " " + new String(body, 0, Math.min(40, body.length), "ISO-8859-1").strip());
        }
    }
}
