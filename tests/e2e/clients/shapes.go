// An origin of every shape of answer, over TLS (HTTP/2 and HTTP/1.1) and in clear (HTTP/1.1), that notes each request as a line of JSON before it answers.
// usage: shapes CERT KEY SEEN-FILE PORT-FILE        PORT-FILE gets "TLS-PORT CLEAR-PORT"
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
)

var seenFile *os.File
var seenLock sync.Mutex

func pairs(header http.Header) [][2]string {
	list := [][2]string{}
	for name, values := range header {
		for _, value := range values {
			list = append(list, [2]string{name, value})
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i][0] < list[j][0] })
	return list
}

func note(r *http.Request, body []byte, problem error) {
	line, err := json.Marshal(map[string]any{
		"cell": r.URL.Query().Get("cell"), "method": r.Method, "target": r.RequestURI, "version": r.Proto, "host": r.Host, "length": r.ContentLength,
		"coding": r.TransferEncoding, "fields": pairs(r.Header), "size": len(body), "digest": fmt.Sprintf("%x", sha256.Sum256(body)),
		"trailers": pairs(r.Trailer), "problem": fmt.Sprint(problem),
	})
	if err != nil {
		panic(err)
	}
	seenLock.Lock()
	defer seenLock.Unlock()
	if _, err := seenFile.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}

func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * 7)
	}
	return data
}

// In pieces, each on its way before the next, so that nothing can know the length beforehand.
func pieces(w http.ResponseWriter, data []byte) {
	flusher := w.(http.Flusher)
	flusher.Flush()
	for len(data) > 0 {
		n := (len(data) + 1) / 2
		if n > 65536 {
			n = 65536
		}
		w.Write(data[:n])
		flusher.Flush()
		data = data[n:]
	}
}

func whole(w http.ResponseWriter, status int, data []byte) {
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.WriteHeader(status)
	w.Write(data)
}

func ranged(w http.ResponseWriter, r *http.Request, data []byte) {
	var from, to int
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); n != 2 || from > to || to >= len(data) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(data)))
		whole(w, 416, nil)
		return
	}
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
	whole(w, 206, data[from:to+1])
}

func answer(w http.ResponseWriter, r *http.Request) {
	body, problem := io.ReadAll(r.Body)
	note(r, body, problem)
	h := w.Header()
	h["Date"] = nil
	h.Set("Content-Type", "application/x-test")
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	n := 0
	if len(parts) > 1 {
		n, _ = strconv.Atoi(parts[1])
	}
	switch parts[0] {
	case "echo":
		whole(w, 200, body)
	case "length":
		whole(w, 200, pattern(n))
	case "unknown":
		pieces(w, pattern(n))
	case "until-close":
		h.Set("Connection", "close")
		h.Set("Transfer-Encoding", "identity")
		pieces(w, pattern(n))
	case "trailers":
		h.Set("Trailer", "X-Sum, X-Other")
		pieces(w, pattern(n))
		h.Set("X-Sum", "42")
		h.Add("X-Other", "a")
		h.Add("X-Other", "b, c")
	case "gzip":
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(pattern(n))
		z.Close()
		h.Set("Content-Encoding", "gzip")
		h.Set("Vary", "Accept-Encoding")
		whole(w, 200, packed.Bytes())
	case "hints":
		h.Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(103)
		h.Add("Link", "</b.css>; rel=preload")
		w.WriteHeader(103)
		whole(w, 200, pattern(n))
	case "range":
		ranged(w, r, pattern(1000))
	case "fields":
		h["Set-Cookie"] = []string{"a=1; Path=/", "b=2; HttpOnly", "a=3"}
		h["X-Empty"] = []string{""}
		h["X-Latin"] = []string{"caf\xe9"}
		h["X-Long"] = []string{strings.Repeat("0123456789", 800)}
		whole(w, 200, pattern(10))
	case "status":
		h.Set("ETag", `"v1"`)
		if n == 204 || n == 304 {
			h.Del("Content-Type")
			w.WriteHeader(n)
		} else {
			whole(w, n, []byte(fmt.Sprintf("status %d\n", n)))
		}
	default:
		whole(w, 404, nil)
	}
}

func listen() (net.Listener, int) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return listener, listener.Addr().(*net.TCPAddr).Port
}

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	if err != nil {
		panic(err)
	}
	seenFile, err = os.OpenFile(os.Args[3], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0600)
	if err != nil {
		panic(err)
	}
	secure, tlsPort := listen()
	plain, clearPort := listen()
	server := &http.Server{Handler: http.HandlerFunc(answer),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}}
	ports := fmt.Sprintf("%d %d", tlsPort, clearPort)
	if os.WriteFile(os.Args[4]+".new", []byte(ports), 0600) != nil || os.Rename(os.Args[4]+".new", os.Args[4]) != nil {
		os.Exit(1)
	}
	go func() { panic(server.Serve(plain)) }()
	panic(server.ServeTLS(secure, "", ""))
}
