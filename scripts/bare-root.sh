#!/bin/bash
# Runs a command in a fresh clone of this repository on a bare Debian 12 that exists only for it: the proof that the
# README's commands need nothing installed by hand. Needs root, mmdebstrap, and a network.
#
# usage: scripts/bare-root.sh [--suite SUITE] [--keep] COMMAND [ARG]...
#        scripts/bare-root.sh make demo
#
# The root has what "minbase" gives (no make, git, sudo, or CA certificates); only make is installed before the command,
# as the README's line does. The mirror and its keys are those of this machine. The clone holds what is committed.
set -euo pipefail
cd "$(dirname "$0")/.."
source=$PWD

say() { printf 'ringtape: %s\n' "$*" >&2; }
usage() { say "usage: scripts/bare-root.sh [--suite SUITE] [--keep] COMMAND [ARG]..."; exit 2; }

suite=bookworm keep=
while [ $# -gt 0 ]; do
    case $1 in
    --suite) suite=${2:-} && shift 2 || usage ;;
    --keep) keep=1 && shift ;;
    --) shift && break ;;
    -*) usage ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] && [ -n "$suite" ] || usage
[ "$(id -u)" = 0 ] || { say "bare-root.sh needs root"; exit 1; }
command -v mmdebstrap >/dev/null || { say "mmdebstrap is missing: apt-get install mmdebstrap"; exit 1; }

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
codename=$(. /etc/os-release && printf %s "${VERSION_CODENAME:-}")
sources=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' | sort -u | while read -r uri name; do
    case $name in
    "$codename" | "$codename"-security | "$codename"-updates)
        printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite${name#"$codename"}" ;;
    esac
done)
[ -n "$sources" ] || { say "this machine's apt has no lists of Debian ${codename:-?}: run apt-get update"; exit 1; }

root=$(mktemp -d "${TMPDIR:-/var/tmp}/ringtape-bare.XXXXXX")
cleanup() {
    if [ -n "$keep" ]; then
        say "kept: $root"
    else
        # The mounts were in a namespace that is gone; should one be left, nothing beyond it is touched.
        rm -rf --one-file-system "$root"
    fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "making a bare $suite in $root"
printf '%s\n' "$sources" | mmdebstrap --quiet --mode=root --variant=minbase "$suite" "$root" - >&2
git clone --quiet --no-local --depth 1 "file://$source" "$root/ringtape"
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"

# Proxy settings reach the root, nothing else of this environment does.
environment=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb)
for name in http_proxy https_proxy no_proxy; do
    [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done

# Inside: mounts and processes of its own, which end with the command.
inside='
    set -e
    root=$1
    shift
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    for node in null zero full random urandom tty; do
        touch "$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/0 "$root/dev/stdin"
    ln -s fd/1 "$root/dev/stdout"
    ln -s fd/2 "$root/dev/stderr"
    exec chroot "$root" env -i "$@"
'
command='apt-get -q update >/dev/null && apt-get -q install -y make >/dev/null 2>&1 && cd /ringtape && exec "$@"'
say "running: $*"
status=0
unshare --mount --pid --fork --kill-child bash -c "$inside" bare "$root" "${environment[@]}" \
    bash -c "$command" bare "$@" </dev/null || status=$?
say "it exited with $status"
exit $status
