# Sourced by the scripts that build a library below build/deps. A result appears whole or not at all: it is made in a
# temporary folder beside its place and moved there last, under a lock, with a stamp that holds its recipe.

say() { printf 'ringtape: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# stamped_build TARGET RECIPE: runs build_into DIR (the caller's function; DIR becomes TARGET) unless TARGET was made
# by the same RECIPE. build_into may use $work for its own files. Exits when it fails.
stamped_build() {
    local target=$1 recipe=$2 name parent log
    name=$(basename "$target")
    parent=$(dirname "$target")
    mkdir -p "$parent"
    parent=$(cd "$parent" && pwd)
    if [ "$(cat "$parent/$name/.recipe" 2>/dev/null)" = "$recipe" ]; then
        return 0
    fi
    exec 9>"$parent/.lock-$name"
    if ! flock -n 9; then
        say "$name is being built by another run: waiting for it"
        flock 9
    fi
    # The other run may have built exactly this.
    if [ "$(cat "$parent/$name/.recipe" 2>/dev/null)" = "$recipe" ]; then
        return 0
    fi
    # What a killed run left behind; nobody else can be using it, since we hold the lock.
    rm -rf "$parent/.making-$name".*
    work=$(mktemp -d "$parent/.making-$name.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    log=$parent/$name.log
    say "building $name (log: build/deps/$name.log)"
    mkdir "$work/result"
    # A subshell, so that `set -e` holds inside and a failure is reported here. It must not be part of a condition.
    set +e
    (set -e; cd "$work"; build_into "$work/result") >"$log" 2>&1 9>&-
    local status=$?
    set -e
    if [ $status != 0 ]; then
        tail -n 25 "$log" >&2
        die "building $name failed: the whole log is $log"
    fi
    printf '%s\n' "$recipe" >"$work/result/.recipe"
    rm -rf "$work/old"
    [ ! -e "$parent/$name" ] || mv "$parent/$name" "$work/old"
    mv "$work/result" "$parent/$name"
    rm -rf "$work"
    trap - EXIT INT TERM
}
