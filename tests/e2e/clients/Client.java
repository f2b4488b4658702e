import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.MessageDigest;
import java.util.HexFormat;

/** Fetches each URL with java.net.http, whose proxy and trust store come from JAVA_TOOL_OPTIONS. */
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
            System.out.println(url + " " + r.statusCode() + " " + r.headers().map().entrySet().stream()
                .filter(e -> e.getKey().matches("(?i)date|etag|server|content-type")).toList()
                + " " + HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body))
                + " " + new String(body, 0, Math.min(40, body.length), "ISO-8859-1"));
        }
    }
}
