# Sourced by run.sh: a Debian kernel, downloaded and unpacked below .cache/vm, never installed on the machine.
#
# ensure_kernel VERSION sets KERNEL_IMAGE. virtme-ng finds the modules by itself: they lie in ../lib/modules beside boot/.

# Debian's meta packages. The -cloud- flavour has no 9p, over which the guest sees the host's files.
kernel_package() {
    case $1 in
        6.1) echo linux-image-amd64 ;;
        *) echo "linux-image-$1-amd64" ;;
    esac
}

ensure_kernel() {
    KERNEL_DIRECTORY=$(pwd)/.cache/vm/linux-$1
    if [ ! -e "$KERNEL_DIRECTORY/complete" ]; then
        [ "$(dpkg --print-architecture)" = amd64 ] || { say "the virtual machine is for amd64 only"; exit 125; }
        say "fetching Linux $1"
        rm -rf "$KERNEL_DIRECTORY"
        mkdir -p "$KERNEL_DIRECTORY"
        (cd "$KERNEL_DIRECTORY" && fetch_kernel "$1") || { say "no kernel $1"; exit 125; }
    fi
    KERNEL_IMAGE=$(ls "$KERNEL_DIRECTORY"/boot/vmlinuz-*)
}

# In an empty directory. Every step ends in `|| return`: the caller's `||` makes the shell ignore set -e in here.
fetch_kernel() {
    meta=$(kernel_package "$1")
    apt-cache show "$meta" >/dev/null 2>&1 || apt-get update -q >&2 || return
    image=$(apt-cache depends --important "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [ -n "$image" ] || { say "apt knows no $meta (Debian 12: main and security archives must be in /etc/apt)"; return 1; }
    apt-get download -q "$image" >&2 || return
    dpkg-deb -x ./*.deb . || return
    rm -rf ./*.deb usr boot/System.map-*
    release=$(basename lib/modules/*)
    # Never needed in the machine, and half of the size.
    (cd "lib/modules/$release/kernel" && rm -rf sound drivers/gpu drivers/media drivers/infiniband drivers/net/wireless drivers/staging)
    # The small init that virtme-ng boots with reads no compressed modules.
    find lib/modules -name '*.ko.xz' -exec xz --decompress '{}' + || return
    depmod --all --basedir . "$release" || return
    : >complete
}
