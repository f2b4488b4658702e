#!/bin/bash
# A curl that speaks WebSocket, which that of Debian 12 does not: the one of its backports, unpacked into the folder given
# and nowhere else. Where the system's own does, nothing is fetched.
#
# usage: scripts/fetch-curl.sh DIR
set -euo pipefail
target=${1:?usage: scripts/fetch-curl.sh DIR}
. "$(dirname "$0")/stamped-build.sh"
. "$(dirname "$0")/own-apt.sh"

recipe='curl of the backports'

write_sources() {
    local uri kind codename
    codename=$(. /etc/os-release && printf %s "$VERSION_CODENAME")
    while read -r uri kind; do
        [ "$kind" = security ] || printf 'deb [signed-by=%s] %s %s-backports main\n' "$keyring" "$uri" "$codename"
    done
}

build_into() {
    local result=$1 package
    own_apt write_sources
    "${apt[@]}" download curl libcurl4
    for package in *.deb; do
        dpkg-deb -x "$package" "$result"
    done
    mkdir "$result/lib"
    mv "$result"/usr/lib/*/libcurl.so.4* "$result/lib/"
    LD_LIBRARY_PATH=$result/lib "$result/usr/bin/curl" --version | grep -w ws
}

if [ "$(cat "$target/.recipe" 2>/dev/null)" != "$recipe" ] && curl --version | grep -qw ws; then
    exit 0
fi
stamped_build "$target" "$recipe"
