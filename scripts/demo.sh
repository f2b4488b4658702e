#!/usr/bin/env bash
# Records a real session, exports it as HAR, and replays it with the origin switched off.
# usage: scripts/demo.sh [URL]      without a URL: a git clone and a page with its parts from a local nginx over HTTPS
set -euo pipefail
cd "$(dirname "$0")/.."
ringtape=${RINGTAPE:-$PWD/build/ringtape}
url=${1:-}
work=$(mktemp -d "${TMPDIR:-/tmp}/ringtape-demo.XXXXXX")
nginx_pid=
finish() { [ -z "$nginx_pid" ] || kill "$nginx_pid" 2>/dev/null || :; wait 2>/dev/null || :; rm -rf "$work"; }
trap finish EXIT
bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\033[1m' plain=$'\033[0m'
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
export PATH=$PATH:/usr/sbin
for v in http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY; do unset "$v"; done
upstream=()

if [ -z "$url" ]; then
    mkdir -p "$work/www"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -keyout "$work/key.pem" \
        -out "$work/cert.pem" -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:TRUE 2>"$work/openssl.log"
    printf '<!doctype html><link rel=stylesheet href=style.css><script src=app.js></script><p>A page with its parts.\n' >"$work/www/index.html"
    printf 'p { color: green }\n' >"$work/www/style.css"
    printf 'console.log("hello")\n' >"$work/www/app.js"
    export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=demo GIT_AUTHOR_EMAIL=demo@localhost
    export GIT_COMMITTER_NAME=demo GIT_COMMITTER_EMAIL=demo@localhost
    git init -q -b main "$work/src"
    for i in 1 2 3 4 5; do
        echo "line $i" >>"$work/src/file.txt"
        git -C "$work/src" add file.txt
        git -C "$work/src" commit -q -m "commit $i"
    done
    git clone -q --bare "$work/src" "$work/www/repo.git"
    git -C "$work/www/repo.git" update-server-info
    # Any free port: one that the kernel has just given out and taken back.
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >"$work/nginx.conf" <<CONF
daemon off; pid $work/nginx.pid; error_log $work/nginx.log;
events {}
http { access_log off; root $work/www; types { text/html html; text/css css; text/javascript js; }
  client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3; uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
  server { listen 127.0.0.1:$port ssl; ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem; } }
CONF
    chmod 755 "$work"
    if [ "$(id -u)" = 0 ]; then nginx -c "$work/nginx.conf" -g 'user root;' & else nginx -c "$work/nginx.conf" & fi
    nginx_pid=$!
    for _ in $(seq 500); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; read -rt 0.02 <> <(:) || :; done
    upstream=(--upstream-ca "$work/cert.pem")
    base=https://localhost:$port
    session="rm -rf '$work/clone'; git clone -q $base/repo.git '$work/clone' && git -C '$work/clone' log --oneline | head -1 &&
        curl -sS $base/index.html $base/style.css $base/app.js"
else
    session="curl -sS -L -o '$work/page' '$url' && wc -c <'$work/page'"
fi

say "1. Recording: ringtape record -o demo.tape -- sh -c '…'"
"$ringtape" record -o "$work/demo.tape" --ca-dir "$work/ca" "${upstream[@]}" -- sh -c "$session" | tee "$work/first"
say "2. What is on the tape: ringtape ls demo.tape"
"$ringtape" ls "$work/demo.tape"
say "3. Exporting: ringtape export demo.tape -o demo.har"
"$ringtape" export "$work/demo.tape" -o "$work/demo.har"
ls -l "$work/demo.har" | awk '{ print $5 " bytes of HAR" }'
if [ -n "$nginx_pid" ]; then
    say "4. The origin is switched off"
    kill "$nginx_pid"
    wait "$nginx_pid" || :
    nginx_pid=
fi
say "5. Replaying offline: ringtape replay demo.tape -- sh -c '…'"
"$ringtape" replay "$work/demo.tape" --ca-dir "$work/ca" -- sh -c "$session" >"$work/second"
cmp "$work/first" "$work/second"
say "The replay printed the same bytes, with no network. (replay's exit code: 0)"
