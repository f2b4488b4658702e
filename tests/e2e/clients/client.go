// Fetches each URL with net/http and prints status, every header field (sorted by name) and the body's digest; or, as `client tls`, shakes
// hands with each host through the proxy and says whether crypto/tls accepted the certificate.
//
// usage: client URL...    a URL that ends in /post is posted to
//
//	client tls CAFILE HOST...
package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func fetch(client *http.Client, u string) {
	var r *http.Response
	var err error
	if strings.HasSuffix(u, "/post") {
		r, err = client.Post(u, "application/json", strings.NewReader(`{"b": 2, "a": [1, 2, 3]}`))
	} else {
		r, err = client.Get(u)
	}
	check(err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	check(err)
	fmt.Println(u, r.Proto, r.Status)
	var names []string
	for name := range r.Header {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Printf("    %q %q\n", name, r.Header[name])
	}
	fmt.Printf("    %d %x %.60q\n", len(body), sha256.Sum256(body), body)
}

// Asks the proxy for a tunnel and shakes hands in it; nil: the certificate was accepted.
func handshake(proxy *url.URL, roots *x509.CertPool, name string) error {
	conn, err := net.Dial("tcp", proxy.Host)
	check(err)
	defer conn.Close()
	target := net.JoinHostPort(name, "443")
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	check(err)
	if r.StatusCode != 200 {
		return fmt.Errorf("CONNECT: %s", r.Status)
	}
	return tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: name}).Handshake()
}

func main() {
	// Go leaves localhost out of the environment's proxy, so the proxy is named here.
	proxy, err := url.Parse(os.Getenv("https_proxy"))
	check(err)
	if len(os.Args) > 2 && os.Args[1] == "tls" {
		roots := x509.NewCertPool()
		pem, err := os.ReadFile(os.Args[2])
		check(err)
		if !roots.AppendCertsFromPEM(pem) {
			panic("no certificate in " + os.Args[2])
		}
		for _, host := range os.Args[3:] {
			if err := handshake(proxy, roots, host); err != nil {
				fmt.Println("refused", host, err)
			} else {
				fmt.Println("accepted", host)
			}
		}
		return
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), ForceAttemptHTTP2: true}}
	for _, u := range os.Args[1:] {
		fetch(client, u)
	}
}
