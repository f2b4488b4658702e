// An origin that speaks HTTP/2 and HTTP/1.1 over TLS, and says what it saw. usage: h2origin CERT KEY PORT-FILE
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/seen", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s host=%s length=%d body=%d %v\n", r.Method, r.RequestURI, r.Proto, r.Host, r.ContentLength, len(body), err)
		var lines []string
		for name, values := range r.Header {
			lines = append(lines, fmt.Sprintf("%s: %q", name, values))
		}
		for name, values := range r.Trailer {
			lines = append(lines, fmt.Sprintf("trailer %s: %q", name, values))
		}
		sort.Strings(lines)
		io.WriteString(w, strings.Join(lines, "\n")+"\n")
	})
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "content\n")
		w.Header().Set("X-Sum", "42")
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(103)
		io.WriteString(w, "after hints\n")
	})
	mux.HandleFunc("/many-hints", func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < 3; i++ {
			w.Header().Set("Link", fmt.Sprintf("</%d.css>; rel=preload", i))
			w.WriteHeader(103)
			w.WriteHeader(102)
		}
		w.Header().Del("Link")
		io.WriteString(w, "after many\n")
	})
	mux.HandleFunc("/refused", func(w http.ResponseWriter, r *http.Request) { // without a look at the body: no 100
		w.WriteHeader(413)
		io.WriteString(w, "too much\n")
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, r *http.Request) {
		piece := []byte(strings.Repeat("0123456789abcdef", 4096))
		for i := 0; i < 512; i++ { // 32 MB
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/zeros", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
		w.Header().Set("Content-Length", fmt.Sprint(n))
		piece := make([]byte, 65536)
		for ; n > 0; n -= int64(len(piece)) {
			if n < int64(len(piece)) {
				piece = piece[:n]
			}
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/sink", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d of %d %v\n", n, r.ContentLength, err)
	})
	mux.HandleFunc("/unframed", func(w http.ResponseWriter, r *http.Request) { // no Content-Length: up to the close, or up to END_STREAM
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		body := strings.Repeat("0123456789", n/10)
		if r.ProtoMajor == 1 {
			c, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"+body)
				c.Close()
			}
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		io.WriteString(w, body)
	})
	mux.HandleFunc("/ranges", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Type", "text/plain")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(strings.Repeat("0123456789", 10)))
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { // each piece goes back as it comes; in HTTP/1.1, where Go cannot, at the end
		if r.ProtoMajor == 1 {
			body, _ := io.ReadAll(r.Body)
			w.Write(body)
			return
		}
		w.WriteHeader(200)
		flusher := w.(http.Flusher)
		flusher.Flush()
		piece := make([]byte, 65536)
		for {
			n, err := r.Body.Read(piece)
			w.Write(piece[:n])
			flusher.Flush()
			if err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/abort", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	if err != nil {
		panic(err)
	}
	server := &http.Server{Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}}
	port := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	if os.WriteFile(os.Args[3]+".new", []byte(port), 0600) != nil || os.Rename(os.Args[3]+".new", os.Args[3]) != nil {
		os.Exit(1)
	}
	panic(server.ServeTLS(listener, "", ""))
}
