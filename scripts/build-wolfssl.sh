#!/bin/bash
# Builds wolfSSL from Debian 13's source package into the folder given, on Debian 12 too: the version of Debian 12 lacks
# AES-NI, fast elliptic curves and security fixes. Nothing of the distribution's own wolfSSL is used or replaced.
#
# usage: scripts/build-wolfssl.sh DIR
#
# apt verifies the source package (own-apt.sh); its .dsc has the hashes of the tarballs.
set -euo pipefail
target=${1:?usage: scripts/build-wolfssl.sh DIR}
. "$(dirname "$0")/stamped-build.sh"
. "$(dirname "$0")/own-apt.sh"

version=5.7.2
suite=trixie
configure_options='
    --enable-static --disable-shared --enable-intelasm --enable-sp=yes --enable-sp-asm --enable-sp-math-all
    --enable-opensslall --enable-opensslextra --enable-sni --enable-alpn --enable-session-ticket --enable-tls13
    --enable-curve25519 --enable-ed25519 --enable-chacha --enable-poly1305 --enable-certgen --enable-certext
    --enable-certreq --enable-keygen --enable-ocsp --enable-ocspstapling --enable-ocspstapling2 --enable-sys-ca-certs
    --enable-extended-master --enable-altcertchains --enable-ip-alt-name --disable-earlydata
    --disable-oldtls --disable-examples --disable-crypttests --disable-benchmark --enable-reproducible-build'
# -fPIE comes with Debian's gcc; it is named for compilers whose default it is not.
cflags='-O2 -fPIE -DWOLFSSL_ALT_NAMES -DWOLFSSL_ALWAYS_KEEP_SNI -DENABLE_SESSION_CACHE_ROW_LOCK'
cflags+=' -DNO_SESSION_CACHE_REF -DNO_CLIENT_CACHE -DHAVE_SECRET_CALLBACK'

machine=$(uname -m)
if [ "$machine" != x86_64 ]; then
    # Intel's assembler is for x86-64; elsewhere the portable code serves.
    configure_options=${configure_options/--enable-intelasm/}
fi
configure_options=$(printf '%s ' $configure_options)

write_sources() {
    local uri kind
    while read -r uri kind; do
        case $kind in
        release) printf 'deb-src [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite" ;;
        security) printf 'deb-src [signed-by=%s] %s %s-security main\n' "$keyring" "$uri" "$suite" ;;
        esac
    done
}

build_into() {
    local result=$1 source have
    own_apt write_sources
    "${apt[@]}" --only-source source wolfssl
    source=$(echo wolfssl-*/)
    have=${source#wolfssl-}
    if [ "${have%%[-+/]*}" != "$version" ]; then
        echo "Debian's $suite has wolfSSL $have; this recipe is for $version"
        return 1
    fi
    cp "$source/debian/copyright" "$result/copyright"
    cd "$source"
    sh autogen.sh
    ./configure --prefix="$final" $configure_options CFLAGS="$cflags"
    make -j"$(nproc)"
    make install DESTDIR="$work/root"
    cp -a "$work/root$final/." "$result/"
    # The libtool archive and the documentation name folders that nobody needs.
    rm -rf "$result/lib/libwolfssl.la" "$result/share" "$result/bin"
    test -f "$result/lib/libwolfssl.a" && test -f "$result/include/wolfssl/options.h"
}

mkdir -p "$(dirname "$target")"
final=$(cd "$(dirname "$target")" && pwd)/$(basename "$target")
for tool in apt-get autoconf automake libtoolize dpkg-source gcc make; do
    command -v $tool >/dev/null || die "building wolfSSL needs $tool: run \`make deps\`"
done
stamped_build "$target" "wolfssl $version $suite $machine | $configure_options | $cflags"
