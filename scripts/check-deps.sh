#!/bin/sh
# Says in a sentence which library the build lacks, before the compiler says it in a page. Exits with 1 if one is
# missing. Environment: CC, WOLFSSL_PREFIX, LLHTTP_DIR.
cd "$(dirname "$0")/.." || exit 1
CC=${CC:-gcc}
WOLFSSL_PREFIX=${WOLFSSL_PREFIX:-build/deps/wolfssl}
LLHTTP_DIR=${LLHTTP_DIR:-build/deps/llhttp}
failed=0

missing() {
    printf 'ringtape: %s is missing: run `make deps`\n' "$1" >&2
    failed=1
}

if ! command -v "${CC%% *}" >/dev/null 2>&1; then
    missing "the compiler ${CC%% *}"
    exit 1
fi

has_header() {
    printf '#include <%s>\n' "$1" | $CC -E -x c - -o /dev/null 2>/dev/null
}

headers='stdio.h:the C library (libc6-dev)
liburing.h:liburing
sqlite3.h:SQLite (libsqlite3-dev)
jansson.h:Jansson
zlib.h:zlib
brotli/decode.h:brotli
zstd.h:zstd
nghttp2/nghttp2.h:nghttp2
wslay/wslay.h:wslay (libwslay-dev)'

# One compiler run when all is well, one for each header only when not.
if ! printf '%s\n' "$headers" | sed 's/^\([^:]*\):.*/#include <\1>/' | $CC -E -x c - -o /dev/null 2>/dev/null; then
    while IFS=: read -r header name; do
        has_header "$header" || missing "$name"
    done <<END
$headers
END
fi

# The first file of each library that is not there.
for file in include/wolfssl/options.h lib/libwolfssl.a; do
    [ -f "$WOLFSSL_PREFIX/$file" ] || { missing "wolfSSL ($WOLFSSL_PREFIX/$file)"; break; }
done
if [ ! -f "$LLHTTP_DIR/include/llhttp.h" ]; then
    missing "llhttp ($LLHTTP_DIR/include/llhttp.h)"
elif [ ! -f "$LLHTTP_DIR/libllhttp.a" ] && [ ! -f "$LLHTTP_DIR/libllhttp.so" ]; then
    missing "llhttp ($LLHTTP_DIR/libllhttp.a or .so)"
fi
exit $failed
