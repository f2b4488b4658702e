#!/bin/bash
# Installs what ringtape needs and is missing: Debian packages through apt; wolfSSL, llhttp and (for the tests) h2spec built
# below build/deps.
# Everything that is present is left alone, and when nothing is missing the network is not used at all.
#
# usage: scripts/deps.sh [build|demo|test|bench|all]...      (default: build)
#
# build  compiler, libraries, wolfSSL, llhttp
# demo   what `make demo` runs: an origin and real clients
# test   what `make check` runs: test libraries, analysers, and every client of the end-to-end tests
# bench  what `make bench` runs: an origin, the proxy to compare with, a load generator
set -euo pipefail
cd "$(dirname "$0")/.."

# A name alone is a Debian package. "package?command" is satisfied by any `command` on PATH, so that a Go, Node.js or
# JDK from elsewhere is used as it is and Debian's is not laid over it.
build_packages='
    gcc libc6-dev make pkg-config
    liburing-dev libsqlite3-dev libjansson-dev zlib1g-dev libbrotli-dev libzstd-dev libnghttp2-dev libwslay-dev
    autoconf automake libtool dpkg-dev patch xz-utils debian-archive-keyring'
demo_packages='
    ca-certificates curl git nginx openssl procps python3 sqlite3'
test_packages='
    apache2-utils binutils brotli ca-certificates chromium?chromium clang clang-format clang-tidy curl
    default-jdk-headless?javac git gnutls-bin golang-go?go haproxy iproute2 libclang-rt-dev libcmocka-dev libnginx-mod-http-echo
    libnss3-tools man-db mosquitto mosquitto-clients nghttp2-client nghttp2-server ncat netcat-openbsd nginx node-undici node-ws
    nodejs?node openssh-client openssh-server openssl procps python3 python3-aiohttp python3-cryptography python3-grpcio python3-h2
    python3-httpx python3-jsonschema python3-pip python3-pytest python3-pytest-timeout python3-pytest-xdist python3-requests
    python3-websockets python3-wsproto sqlite3 strace unzip wget wrk zip zstd'
bench_packages='
    haproxy nginx openssl python3 wrk'

say() { printf 'ringtape: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

system_id=unknown system_version=
if [ -r /etc/os-release ]; then
    system_id=$(. /etc/os-release && printf %s "${ID:-unknown}")
    system_version=$(. /etc/os-release && printf %s "${VERSION_ID:-}")
fi

# llhttp has its own package from Debian 13 on; Debian 12 carries its C sources within the Node.js package.
case $system_id$system_version in
debian12) build_packages+=' node-llhttp' ;;
*) build_packages+=' libllhttp-dev' ;;
esac

# Another package's installation may leave a trigger pending for a while: what has one is there all the same.
installed() {
    case $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) in
    installed | triggers-awaited | triggers-pending) return 0 ;;
    *) return 1 ;;
    esac
}

# Prints those of the given items that are neither installed nor satisfied by a command.
missing_of() {
    local item
    for item in $(printf '%s\n' "$@" | sort -u); do
        case $item in
        *\?*) command -v "${item#*\?}" >/dev/null || installed "${item%%\?*}" || printf '%s\n' "${item%%\?*}" ;;
        *) installed "$item" || printf '%s\n' "$item" ;;
        esac
    done
}

# Root needs no helper; sudo serves when it asks for nothing or when there is a terminal to ask on.
root_prefix() {
    if [ "$(id -u)" = 0 ]; then
        printf ''
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        printf 'sudo'
    else
        return 1
    fi
}

# Packages whose service would be started at the next boot.
# Where the unit has another name than the package: PACKAGE:UNIT.
services='nginx haproxy mosquitto openssh-server:ssh'
# A test's nginx must not become a web server of this machine: while packages are installed, starting services is
# refused in the way Debian provides for, unless the administrator already has a rule of their own.
policy=/usr/sbin/policy-rc.d
policy_ours=
forbid_services() {
    [ -e $policy ] && return
    # Set before the file exists: an interruption in between must not leave it behind.
    policy_ours=1
    printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null
    $root chmod 755 $policy
}
allow_services() {
    [ -n "$policy_ours" ] || return 0
    policy_ours=
    $root rm -f $policy
}

install_packages() {
    local packages=$* service new_services=
    if ! root=$(root_prefix); then
        say "these packages are missing, and installing them needs root. Run this, then try again:"
        printf 'apt-get update && apt-get install -y --no-install-recommends %s\n' "$packages" >&2
        exit 1
    fi
    say "installing: $packages"
    for service in $services; do
        installed "${service%:*}" || new_services+=" $service"
    done
    trap allow_services EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    forbid_services
    local apt="$root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=600"
    $apt update >&2 || die "apt-get update failed (see above)"
    $apt install -y --no-install-recommends $packages >&2 || die "apt-get install failed (see above)"
    for service in $new_services; do
        if installed "${service%:*}" && [ -d /run/systemd/system ]; then
            $root systemctl disable --quiet "${service#*:}" 2>/dev/null || true
        fi
    done
    allow_services
}

wanted=
with_libraries=
with_tools=
[ $# -gt 0 ] || set -- build
for group in "$@"; do
    case $group in
    build) wanted+=" $build_packages" with_libraries=1 ;;
    demo) wanted+=" $demo_packages" ;;
    test) wanted+=" $test_packages" with_tools=1 ;;
    bench) wanted+=" $bench_packages" ;;
    all) wanted+=" $build_packages $demo_packages $test_packages $bench_packages" with_libraries=1 with_tools=1 ;;
    *) say "unknown group \"$group\" (build, demo, test, bench, all)"; exit 2 ;;
    esac
done

case $system_id$system_version in
debian12 | debian13)
    missing=$(missing_of $wanted | tr '\n' ' ')
    [ -z "$missing" ] || install_packages "${missing% }"
    ;;
*)
    # Elsewhere the packages have other names: check what the build itself needs, and say what to do.
    if [ -n "$with_libraries" ] && ! scripts/check-deps.sh; then
        die "only Debian 12 and 13 are set up automatically (this is $system_id $system_version): install what is" \
            "named above, and give make WOLFSSL_PREFIX=DIR and LLHTTP_DIR=DIR"
    fi
    with_libraries=
    say "not Debian 12 or 13: nothing was installed"
    ;;
esac

if [ -n "$with_libraries" ]; then
    # The caller's own builds take the place of ours.
    [ -n "${WOLFSSL_PREFIX:-}" ] || scripts/build-wolfssl.sh build/deps/wolfssl
    [ -n "${LLHTTP_DIR:-}" ] || scripts/build-llhttp.sh build/deps/llhttp
fi

# Its modules may be out of reach where all packages are there: one test is then skipped. That they do not build is a failure. H2SPEC names
# another one.
if [ -n "$with_tools" ] && [ -z "${H2SPEC:-}" ] && ! scripts/build-h2spec.sh build/deps/h2spec; then
    [ -e build/deps/h2spec.unreachable ] || exit 1
    say "h2spec cannot be fetched: its test will be skipped"
fi

# CURL_WS names another one, which speaks WebSocket.
if [ -n "$with_tools" ] && [ -z "${CURL_WS:-}" ]; then
    scripts/fetch-curl.sh build/deps/curl
fi
