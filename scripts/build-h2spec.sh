#!/bin/bash
# Builds h2spec, which asks an HTTP/2 server 146 things of RFC 7540 and RFC 7541, into the folder given (DIR/h2spec).
#
# usage: scripts/build-h2spec.sh DIR
#
# Its sources and theirs are Go modules, fetched as this machine's Go is set up to; tests/tools/h2spec/go.sum holds what
# each must be. Debian 12's Go 1.19 builds them. Where they cannot be fetched, DIR.unreachable is left beside DIR: the
# test that needs h2spec is then skipped, and says so.
set -euo pipefail
target=${1:?usage: scripts/build-h2spec.sh DIR}
. "$(dirname "$0")/stamped-build.sh"

modules=$(cd "$(dirname "$0")/../tests/tools/h2spec" && pwd)
mkdir -p "$(dirname "$target")"
unreachable=$(cd "$(dirname "$target")" && pwd)/$(basename "$target").unreachable

build_into() {
    local result=$1
    cp "$modules/go.mod" "$modules/go.sum" .
    # Caches of our own, which go with the work folder.
    export GO111MODULE=on CGO_ENABLED=0 GOTOOLCHAIN=local GOPATH=$work/go GOMODCACHE=$work/modules GOCACHE=$work/cache
    export GOFLAGS='-modcacherw -mod=readonly'
    if ! go mod download; then
        touch "$unreachable"
        return 1
    fi
    rm -f "$unreachable"
    go build -trimpath -ldflags='-s -w' -o "$result/h2spec" github.com/summerwind/h2spec/cmd/h2spec
}

stamped_build "$target" "h2spec $(tr -s '[:space:]' ' ' <"$modules/go.mod")"
