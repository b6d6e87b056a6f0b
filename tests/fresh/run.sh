#!/bin/sh
# Proves the two doors on a machine that has just been installed: makes a minimal Debian 12 with python3 and apt, clones the last
# commit into it, and runs `./dev demo`, `./dev demo` again (which must be quick and is given no network) and `./dev test` there.
#
#     sudo ./dev fresh [--keep] [demo|again|test|COMMAND]...      default: demo again test
#
# The new system is a root file system of its own (pivot_root, not chroot) in private mount and PID namespaces: whatever happens
# inside, no mount and no process outlives this script. How packages are reached (apt's archives, pip's configuration, proxies,
# certificates) is taken over from this machine.
set -eu

say() { printf 'fresh: %s\n' "$*" >&2; }

# ---- outside: make the system ------------------------------------------------------------------------------------------

# One line per archive of Debian's own that this machine uses: URI, suite, component. Nobody else's: their keys are not in a new system.
debian_archives() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' | sort -u
}

make_system() {
    mirror=$(debian_archives | sed -n 's/ bookworm main$//p' | head -n 1)
    mkdir -p .cache/fresh
    say "debootstrap into $1"
    # $mirror is empty where this machine is no Debian 12: debootstrap then takes its own.
    debootstrap --variant=minbase --include=python3 --cache-dir="$(pwd)/.cache/fresh" bookworm "$1" $mirror >"$1.log" 2>&1 ||
        { tail -n 20 "$1.log" >&2; exit 1; }
    rm -f "$1.log"
    debian_archives | sed 's/^/deb /' >"$1/etc/apt/sources.list"
    apt-config dump | grep -E '^Acquire::(https?::|Check-)' >"$1/etc/apt/apt.conf.d/90taken-over" || true
    cp /etc/resolv.conf /etc/hosts "$1/etc/"
    take_over_pip "$1"
}

# pip's settings as files and variables, and what they point to.
take_over_pip() {
    for file in /etc/pip.conf "${HOME:-/root}/.config/pip/pip.conf" "${HOME:-/root}/.pip/pip.conf"; do
        if [ -e "$file" ]; then mkdir -p "$1$(dirname "$file")" && cp "$file" "$1$file"; fi
    done
    env | grep -E '^(PIP_[A-Z_]+|[a-zA-Z]+_(proxy|PROXY)|SSL_CERT_FILE|REQUESTS_CA_BUNDLE)=' |
        grep -vE '^PIP_(USER|TARGET|PREFIX|PYTHON)=' >"$1/root/environment" || true
    mentioned_paths "$1" | while read -r path; do
        if [ -f "$path" ]; then mkdir -p "$1$(dirname "$path")" && cp "$path" "$1$path"; fi
        # An index on disk (PEP 503) links to files beside it.
        if [ -d "$path" ]; then echo "${path%/simple}"; fi
    done | sort -u >"$1/root/directories"
    # The package ca-certificates, once it is installed in there, writes its own bundle over what lies in /etc/ssl.
    if [ -e "$1/etc/ssl" ]; then cp -r "$1/etc/ssl" "$1/root/ssl"; fi
    settings "$1" | xargs sed -i 's,/etc/ssl/,/root/ssl/,g'
}

# The files in the new system that say where packages come from.
settings() {
    ls "$1/root/environment" "$1/etc/pip.conf" "$1${HOME:-/root}/.config/pip/pip.conf" "$1${HOME:-/root}/.pip/pip.conf" 2>/dev/null || true
}

# Absolute paths in these settings: certificates, directories of wheels, indexes on disk.
mentioned_paths() {
    settings "$1" | xargs cat |
        tr ' =,' '\n\n\n' | sed -n 's|^file://||; s|^/[^/].*|&|p' | sort -u
}

# ---- inside: private namespaces, the new system becomes the root -------------------------------------------------------

enter() {
    mount --bind "$1" "$1"
    cd "$1"
    mount -t proc proc proc
    mount --rbind /sys sys
    mount --rbind /dev dev
    mount -t tmpfs -o mode=755 tmpfs run
    mkdir -p mnt
    while read -r directory; do
        mkdir -p ".$directory"
        mount --bind -o ro "$directory" ".$directory"
    done <root/directories
    pivot_root . mnt
    # -l: this very shell was started from there.
    exec chroot . /bin/sh -c 'umount -l /mnt && cd /root/pyrun && exec sh tests/fresh/run.sh --work "$@"' sh $2
}

work() {
    set -a
    . /root/environment
    set +a
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYRUN_MUST_RUN=1
    for task; do
        began=$(date +%s)
        say "=== $task ==="
        case $task in
            demo | test) ./dev "$task" </dev/null ;;
            # No network: nothing may have to be fetched a second time.
            again) unshare --net ./dev demo </dev/null ;;
            *) sh -c "$task" ;;
        esac || { say "$task failed"; return 1; }
        say "=== $task done in $(($(date +%s) - began)) s ==="
    done
}

main() {
    case ${1:-} in
        --enter) shift; enter "$@" ;;
        --work) shift; work "$@"; return ;;
    esac
    keep=0
    if [ "${1:-}" = --keep ]; then keep=1; shift; fi
    cd "$(dirname "$0")/../.."
    system=$(mktemp -d /var/tmp/pyrun-fresh.XXXXXX)
    chmod 755 "$system"
    [ $keep = 1 ] || trap 'rm -rf --one-file-system "$system"' EXIT
    trap 'exit 130' INT TERM HUP
    make_system "$system"
    git clone --quiet --no-hardlinks . "$system/root/pyrun"
    # --kill-child: the first process of the PID namespace dies with this script, and everything in it with that.
    unshare --mount --propagation private --pid --fork --kill-child sh tests/fresh/run.sh --enter "$system" "${*:-demo again test}"
    [ $keep = 0 ] || say "kept: $system"
}

main "$@"
