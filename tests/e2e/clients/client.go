// Fetches each URL with net/http and prints status, headers and the body's digest.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

func main() {
	// Go leaves localhost out of the environment's proxy, so the proxy is named here.
	proxy, err := url.Parse(os.Getenv("https_proxy"))
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), ForceAttemptHTTP2: true}}
	for _, u := range os.Args[1:] {
		var r *http.Response
		var err error
		if strings.HasSuffix(u, "/post") {
			r, err = client.Post(u, "application/json", strings.NewReader(`{"b": 2, "a": [1, 2, 3]}`))
		} else {
			r, err = client.Get(u)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		r.Body.Close()
		n := len(body)
		if n > 40 {
			n = 40
		}
		fmt.Println(u, r.StatusCode, r.Header.Get("Date"), r.Header.Get("Etag"), fmt.Sprintf("%x", sha256.Sum256(body)), string(body[:n]))
	}
}
