// An origin in clear and in TLS (HTTP/1.1 and HTTP/2) that goes on only when its client has said so, by another request. A sign that does not come
// within the bound breaks the answer off. usage: signs CERT KEY PORT-FILE    the file gets "CLEAR TLS"
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const patience = 20 * time.Second

// What each name is told through: one that says and one that hears it meet.
var meetings sync.Map

func meeting(r *http.Request) chan string {
	c, _ := meetings.LoadOrStore(r.URL.Query().Get("run")+" "+r.URL.Query().Get("n"), make(chan string))
	return c.(chan string)
}

func heard(c chan string) string {
	select {
	case said := <-c:
		return said
	case <-time.After(patience):
		panic(http.ErrAbortHandler)
	}
}

func told(c chan string, what string) {
	select {
	case c <- what:
	case <-time.After(patience):
		panic(http.ErrAbortHandler)
	}
}

var events = []string{
	"data: 0\n\n",
	"id: 7\nevent: add\ndata: 1\ndata: {\"a\": [1, 2]}\n\n",
	": a comment\n\nretry: 250\ndata: 2\n\n",
	"id: gr\u00fcn\r\ndata:3\r\n\r\n",
	"data: 4\ndata: " + strings.Repeat("x", 100000) + "\n\n",
	"data: 5\n\n",
}

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(204)
	})
	// Each event waits for the sign of the one before it.
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(200)
		for i, event := range events {
			io.WriteString(w, event)
			w.(http.Flusher).Flush()
			query := r.URL.Query()
			query.Set("n", fmt.Sprint(i))
			r.URL.RawQuery = query.Encode()
			heard(meeting(r))
		}
	})
	mux.HandleFunc("/sign", func(w http.ResponseWriter, r *http.Request) {
		told(meeting(r), "")
		w.WriteHeader(204)
	})
	// A long poll, and what it waits for. Neither is answered before both are there.
	mux.HandleFunc("/poll", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "told "+heard(meeting(r))+"\n")
	})
	mux.HandleFunc("/tell", func(w http.ResponseWriter, r *http.Request) {
		what, _ := io.ReadAll(r.Body)
		told(meeting(r), string(what))
		io.WriteString(w, "passed on\n")
	})
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	if err != nil {
		panic(err)
	}
	server := &http.Server{Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}}
	var ports []string
	var listeners []net.Listener
	for i := 0; i < 2; i++ {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		listeners = append(listeners, listener)
		ports = append(ports, fmt.Sprint(listener.Addr().(*net.TCPAddr).Port))
	}
	if os.WriteFile(os.Args[3]+".new", []byte(strings.Join(ports, " ")), 0600) != nil || os.Rename(os.Args[3]+".new", os.Args[3]) != nil {
		os.Exit(1)
	}
	go server.Serve(listeners[0])
	panic(server.ServeTLS(listeners[1], "", ""))
}
