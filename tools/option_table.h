/* option_table.h: every subcommand and every option, one row each. getopt_long's arrays, --help, the man pages, docs/commands and
 * the shell completion are all made from these two tables. */
#ifndef RINGTAPE_TOOLS_OPTION_TABLE_H
#define RINGTAPE_TOOLS_OPTION_TABLE_H

#define USAGE_RECORD "[-o TAPE] [-l [HOST:]PORT] [options] [-- CMD ARG...]"
#define TEXT_RECORD                                                                                                     \
    "Starts an intercepting proxy, forwards what its clients ask for, and writes every flow to TAPE, one SQLite file. " \
    "With CMD, runs it with an environment that makes it use the proxy and trust the CA, and exits with CMD's own "     \
    "code; without, records until SIGINT or SIGTERM. Clients that are not started here must trust the CA: see "         \
    "`ringtape ca trust`."
#define EXAMPLES_RECORD                                                                                                \
    "ringtape record -o login.tape -- npm test\n"                                                                      \
    "ringtape record -o day.tape -l 8080\n"                                                                            \
    "ringtape record -o api.tape -l 9000 --reverse https://api.example.com"

#define USAGE_REPLAY "TAPE... [-l [HOST:]PORT] [options] [-- CMD ARG...]"
#define TEXT_REPLAY                                                                                                       \
    "Answers requests from tapes, without a network: this process cannot connect, and the kernel enforces it. A request " \
    "that no recording matches is answered at once with status 501 and the nearest recordings. Under CMD the exit code "  \
    "is CMD's own, or 3 when CMD succeeded and a --fail-on condition was met."
#define EXAMPLES_REPLAY                                                                                                \
    "ringtape replay login.tape -- npm test\n"                                                                         \
    "ringtape replay api.tape -l 8080 --ignore query:t --order cycle\n"                                                \
    "ringtape replay a.tape b.tape --fail-on miss,unused --junit replay.xml -- ./e2e.sh"

#define USAGE_EXPORT "TAPE [-o FILE] [--format har|jsonl|curl] [-f FILTER]"
#define TEXT_EXPORT                                                                                                    \
    "Writes the flows of TAPE as HAR 1.2 (the default), as one JSON object a line, or as a shell script of curl "      \
    "commands, to FILE or standard output. FILE appears whole or not at all. Needs the same memory for any tape."
#define EXAMPLES_EXPORT                                                                                                \
    "ringtape export login.tape -o login.har\n"                                                                        \
    "ringtape export login.tape --format jsonl -f '~c 502' | jq .url\n"                                                \
    "ringtape export login.tape --format curl -f '~m POST & ~d api.example.com' -o again.sh"

#define USAGE_IMPORT "FILE... -o TAPE"
#define TEXT_IMPORT                                                                                                                    \
    "Reads HAR 1.2 (also gzipped or zipped; - is standard input), as browsers, proxies and API clients write it, and makes a tape of " \
    "its entries, to be replayed, listed, and exported again. What had to be mended, and what was left out, is said on "               \
    "standard error. A file that is no JSON, or no HAR, is refused with line and column (exit code 3), and no tape is "                \
    "made. Needs the same memory for any file."
#define EXAMPLES_IMPORT                                                                                                \
    "ringtape import session.har -o session.tape\n"                                                                    \
    "ringtape import login.har checkout.har.gz -o shop.tape --force\n"                                                 \
    "ringtape import devtools.har -o app.tape && ringtape replay app.tape -- npm test"

#define USAGE_LS "TAPE [-f FILTER] [--json]"
#define TEXT_LS                                                                                                          \
    "Lists flows, one a line: id, time (UTC), status, method, bytes of the response, milliseconds, URL. A flow that is " \
    "not complete is marked with ! and its reason. With --json: JSON Lines, one object a flow with the columns of the "  \
    "view `flows`."
#define EXAMPLES_LS                                                                                                    \
    "ringtape ls login.tape\n"                                                                                         \
    "ringtape ls login.tape -f '~d example.com & !~c 200'\n"                                                           \
    "ringtape ls login.tape --json | jq 'select(.status >= 500) | .url'"

#define USAGE_SHOW "TAPE ID [--body|--request-body|--raw|--messages|--json]"
#define TEXT_SHOW                                                                                                      \
    "Shows one flow: request and response with their fields, times, connections, and text bodies (decoded; the first " \
    "64 KB). The options choose another form."
#define EXAMPLES_SHOW                                                                                                  \
    "ringtape show login.tape 17\n"                                                                                    \
    "ringtape show login.tape 17 --body >image.png\n"                                                                  \
    "ringtape show login.tape 17 --json | jq .response.headers"

#define USAGE_CA "[show|export|new|trust] [options]"
#define TEXT_CA                                                                                                            \
    "The certificate authority that signs what clients of the proxy see. `show` (the default) describes it, `export` "     \
    "writes its certificate, `new` replaces it (the old files are kept as *.old), `trust` prints how to make the system, " \
    "browsers and runtimes trust it. Where there is none yet, one is made."
#define EXAMPLES_CA                                                                                                    \
    "ringtape ca export >ringtape-ca.pem\n"                                                                            \
    "ringtape ca export --format p12 -o ringtape.p12\n"                                                                \
    "ringtape ca trust"

/* id, name (also the function NAME_main and the file tools/NAME.c), summary */
#define COMMAND_TABLE(X)                                                                                               \
    X(RECORD, record, "record what programs say over HTTP and HTTPS on a tape")                                        \
    X(REPLAY, replay, "answer requests from tapes, without a network")                                                 \
    X(EXPORT, export, "write a tape as HAR, JSON Lines or curl commands")                                              \
    X(IMPORT, import, "make a tape of HAR files")                                                                      \
    X(LS, ls, "list the flows of a tape")                                                                              \
    X(SHOW, show, "show one flow")                                                                                     \
    X(CA, ca, "show, export or renew the certificate authority; how to trust it")

/* id, letter (0: none), name, argument (NULL: none), commands, help */
#define OPTION_TABLE(X)                                                                                                    \
    X(OPT_OUTPUT_TAPE, 'o', "output", "TAPE", IN(RECORD) | IN(IMPORT),                                                     \
      "write to TAPE (record's default: session-YYYYMMDD-HHMMSS.tape; import has none); an existing file is refused "      \
      "unless an option says what becomes of it")                                                                          \
    X(OPT_OUTPUT_FILE, 'o', "output", "FILE", IN(EXPORT) | IN(CA), "write to FILE (default, and -: standard output)")      \
    X(OPT_APPEND, 0, "append", NULL, IN(RECORD), "add a new session to TAPE if it exists")                                 \
    X(OPT_FORCE, 0, "force", NULL, IN(RECORD) | IN(IMPORT), "replace TAPE if it exists")                                   \
    X(OPT_EXPORT_FORMAT, 0, "format", "har|jsonl|curl", IN(EXPORT), "what to write (default: har)")                        \
    X(OPT_CA_FORMAT, 0, "format", "pem|der|p12", IN(CA),                                                                   \
      "form of the exported certificate (default: pem); p12 is a trust store for Java, password `ringtape`")               \
    X(OPT_FILTER, 'f', "filter", "EXPR", SERVING | IN(EXPORT) | IN(LS),                                                    \
      "only the flows that match EXPR, in mitmproxy's filter language: ~d DOMAIN, ~u URL, ~m METHOD, ~c STATUS, "          \
      "~b BODY, ~h HEADER, ..., with ! & | ( ); under record the others are forwarded all the same, and a flow is judged " \
      "when it ends")                                                                                                      \
    X(OPT_LISTEN, 'l', "listen", "[HOST:]PORT", SERVING,                                                                   \
      "listen there (default: 127.0.0.1:8080, with CMD 127.0.0.1:0; port 0 is any free one); beyond loopback "             \
      "--proxy-auth or --listen-open is needed")                                                                           \
    X(OPT_PORT_FILE, 0, "port-file", "FILE", SERVING, "write the port that was bound to FILE once it accepts")             \
    X(OPT_CA_DIR, 0, "ca-dir", "DIR", SERVING | IN(CA),                                                                    \
      "where the CA's key and certificate are (default: $RINGTAPE_CA_DIR, else $XDG_DATA_HOME/ringtape, else "             \
      "~/.local/share/ringtape); made at first use")                                                                       \
    X(OPT_PROXY_AUTH, 0, "proxy-auth", "USER:PASSWORD", SERVING,                                                           \
      "clients must give this name and password (Basic); @FILE reads them from the first line of FILE")                    \
    X(OPT_LISTEN_OPEN, 0, "listen-open", NULL, SERVING, "listen beyond loopback without a password")                       \
    X(OPT_REVERSE, 0, "reverse", "[HOST=]URL", SERVING,                                                                    \
      "be the origin: origin-form requests, plain and TLS on one port, stand for URL (only those for HOST, when "          \
      "given); repeatable")                                                                                                \
    X(OPT_PASS, 0, "pass", "HOST[:PORT]", SERVING,                                                                         \
      "tunnel without interception; *.example.com matches every name below; repeatable")                                   \
    X(OPT_NO_AUTO_PASS, 0, "no-auto-pass", NULL, IN(RECORD),                                                               \
      "go on intercepting where a client refused the certificate (default: that host is then tunnelled for that client, "  \
      "unless another client took the certificate)")                                                                       \
    X(OPT_WORKERS, 0, "workers", "N", SERVING, "worker threads (default: the cores, at most 8)")                           \
    X(OPT_BACKEND, 0, "backend", "auto|io_uring|epoll", SERVING,                                                           \
      "event backend (default: auto, which is io_uring unless the kernel or the container refuses it)")                    \
    X(OPT_KEEP_NO_PROXY, 0, "keep-no-proxy", NULL, SERVING,                                                                \
      "leave no_proxy in CMD's environment as it is (default: cleared, so that origins on localhost go through the "       \
      "proxy too)")                                                                                                        \
    X(OPT_UPSTREAM_CA, 0, "upstream-ca", "FILE", IN(RECORD),                                                               \
      "trust the certificates in FILE (PEM) for origins, besides the system's")                                            \
    X(OPT_INSECURE, 0, "insecure", NULL, IN(RECORD), "do not verify origins' certificates")                                \
    X(OPT_CLIENT_CERT, 0, "client-cert", "HOST[:PORT]=FILE", IN(RECORD),                                                   \
      "show the certificate in FILE (PEM, with its chain and its unencrypted private key) to origins of that name that "   \
      "ask for one; *.example.com matches every name below; repeatable, the first that matches counts")                    \
    X(OPT_NO_HTTP2, 0, "no-http2", NULL, IN(RECORD), "offer origins HTTP/1.1 only, and let no client upgrade to h2c")      \
    X(OPT_CONNECT_TO, 0, "connect-to", "HOST:PORT:ADDR:PORT", IN(RECORD),                                                  \
      "connect to ADDR:PORT for requests to HOST:PORT; empty parts match or keep anything; repeatable")                    \
    X(OPT_UPSTREAM, 0, "upstream", "URL", IN(RECORD),                                                                      \
      "go through the proxy at URL (http://[USER:PASSWORD@]HOST:PORT)")                                                    \
    X(OPT_MAX_BODY, 0, "max-body", "BYTES", IN(RECORD),                                                                    \
      "keep at most so much of a body on the tape (suffixes k, M, G); all of it is forwarded, and the flow marked")        \
    X(OPT_COMMIT_INTERVAL, 0, "commit-interval", "MS", IN(RECORD),                                                         \
      "longest time between commits, which is what a kill -9 may lose (default: 250)")                                     \
    X(OPT_MATCH, 0, "match", "LIST", IN(REPLAY),                                                                           \
      "fields that must be equal (default: method,scheme,host,port,path,query,body); header:NAME and cookie:NAME too")     \
    X(OPT_IGNORE, 0, "ignore", "FIELD", IN(REPLAY),                                                                        \
      "leave a part out of the comparison: query:NAME, header:NAME, json:/POINTER, form:NAME, cookie:NAME, host, "         \
      "scheme, port, query, body; repeatable")                                                                             \
    X(OPT_ORDER, 0, "order", "sequence|first|last|cycle|once", IN(REPLAY),                                                 \
      "which of several equal recordings answers (default: sequence, in which the last one stays)")                        \
    X(OPT_PACE, 0, "pace", "instant|recorded|FACTOR", IN(REPLAY),                                                          \
      "how fast responses come (default: instant); a FACTOR multiplies the recorded delays")                               \
    X(OPT_MAP, 0, "map", "HOST=HOST", IN(REPLAY),                                                                          \
      "answer requests for the first host with recordings of the second; repeatable")                                      \
    X(OPT_FAIL_ON, 0, "fail-on", "LIST", IN(REPLAY),                                                                       \
      "exit with 3 on: miss, unused, repeat; or never (default: miss under CMD, never without)")                           \
    X(OPT_MISS_STATUS, 0, "miss-status", "N", IN(REPLAY), "status of the answer to a miss (default: 501)")                 \
    X(OPT_RULES, 0, "rules", "FILE", IN(REPLAY),                                                                           \
      "JSON whose members are match, ignore, map, order, pace, fail-on and miss-status, as the options; what the command " \
      "line says comes on top (default: ringtape.json beside the first tape, or in the working directory or above)")       \
    X(OPT_EXPLAIN, 0, "explain", "ID", IN(REPLAY),                                                                         \
      "print by what flow ID (of the second tape: 2:ID) is known, field by field, and end")                                \
    X(OPT_TAG, 0, "tag", NULL, IN(REPLAY), "add a field `Ringtape: hit; flow=ID; n=TIMES` to what is served")              \
    X(OPT_REPORT, 0, "report", "FILE", IN(REPLAY), "write what was served, missed and unused to FILE, as JSON")            \
    X(OPT_JUNIT, 0, "junit", "FILE", IN(REPLAY), "write the same to FILE, as JUnit XML")                                   \
    X(OPT_BODY, 0, "body", NULL, IN(SHOW), "only the response's content, decoded")                                         \
    X(OPT_REQUEST_BODY, 0, "request-body", NULL, IN(SHOW), "only the request's content, decoded")                          \
    X(OPT_RAW, 0, "raw", NULL, IN(SHOW), "request and response as HTTP/1.1 messages, content as it was sent")              \
    X(OPT_MESSAGES, 0, "messages", NULL, IN(SHOW), "only WebSocket messages, events or tunnel bytes, as JSON Lines")       \
    X(OPT_JSON, 0, "json", NULL, IN(LS) | IN(SHOW), "machine-readable")                                                    \
    X(OPT_QUIET, 'q', "quiet", NULL, SERVING, "only warnings and errors")                                                  \
    X(OPT_VERBOSE, 'v', "verbose", NULL, SERVING, "debugging messages too")                                                \
    X(OPT_LOG_JSON, 0, "log-json", NULL, SERVING, "log lines as JSON objects")                                             \
    X(OPT_HELP, 'h', "help", NULL, ~0u, "this text")

#endif
