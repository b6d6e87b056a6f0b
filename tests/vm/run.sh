#!/bin/sh
# Runs a command in a virtual machine with a complete cgroup v2; see README.md beside this file. Called by `./dev vm`.
#
#     tests/vm/run.sh [--kernel 6.12|6.1] [-- COMMAND...]
#
# Exit status: the command's; 124 if it ran out of time; 125 if the machine did not boot.
set -eu
cd "$(dirname "$0")/../.."
. tests/vm/kernel.sh

RUN=.cache/vm/run
# Emulated, the guest is up after 20 s on an idle machine of two processors.
BOOT_TIMEOUT_S=${PYRUN_VM_BOOT_TIMEOUT:-240}
TIMEOUT_S=${PYRUN_VM_TIMEOUT:-3600}

say() { printf 'vm: %s\n' "$*" >&2; }

# A word as a shell would have to be given it.
quote() { printf "'%s' " "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }

# The guest finds in $RUN what it has to do, and leaves there what became of it.
prepare() {
    rm -rf $RUN
    mkdir -p $RUN
    : >$RUN/output
    for variable in PYRUN_MUST_RUN TERM; do
        eval "value=\${$variable:-}"
        [ -z "$value" ] || printf 'export %s=%s\n' "$variable" "$(quote "$value")"
    done >$RUN/environment
    for word; do quote "$word"; done >$RUN/command
}

boot() {
    kvm=--disable-kvm
    [ "${PYRUN_VM_KVM:-0}" = 0 ] || kvm=
    # vng wants a terminal, hence script(1). The root file system is the host's, seen through throw-away overlays; only this
    # checkout is written through.
    command="exec $(pwd)/.venv/bin/vng --run $KERNEL_IMAGE --name pyrun-vm --user root --memory 4G --cpus 2 $kvm --force-9p \
        --rwdir $(pwd) --verbose -- 'sh $(pwd)/tests/vm/guest.sh'"
    PATH="$(pwd)/.venv/bin:$PATH" exec timeout --kill-after=20 "$TIMEOUT_S" \
        script --quiet --flush --return --command "$command" $RUN/console.log </dev/null >/dev/null 2>&1
}

# wait_for_start PID: has the guest begun its command in time?
wait_for_start() {
    waited=0
    while [ ! -e $RUN/started ]; do
        kill -0 "$1" 2>/dev/null || return 1
        [ $waited -lt "$BOOT_TIMEOUT_S" ] || return 1
        sleep 1
        waited=$((waited + 1))
    done
}

try_once() {
    prepare "$@"
    boot &
    machine=$!
    trap 'kill $machine 2>/dev/null || true; exit 130' INT TERM HUP
    if ! wait_for_start $machine; then
        kill $machine 2>/dev/null || true
        wait $machine 2>/dev/null || true
        return 125
    fi
    # The guest writes its output into a file of the checkout; show it as it grows.
    tail --pid=$machine --sleep-interval=1 -n +1 -f $RUN/output &
    reader=$!
    ended=0
    wait $machine || ended=$?
    wait $reader || true
    [ -e $RUN/status ] && return "$(cat $RUN/status)"
    [ $ended = 124 ] || ended=125
    return $ended
}

show_console() {
    say "the end of the console ($RUN/console.log has all of it):"
    tail -n 60 $RUN/console.log >&2 || true
}

main() {
    version=6.12
    if [ "${1:-}" = --kernel ]; then version=${2:?--kernel needs a version}; shift 2; fi
    [ "${1:-}" != -- ] || shift
    [ $# -gt 0 ] || set -- .venv/bin/python -m pytest -m cgroup2
    ensure_kernel "$version"
    say "booting Linux $version (emulated: give it time)"
    status=0
    try_once "$@" || status=$?
    if [ $status = 125 ] && [ ! -e $RUN/started ]; then
        show_console
        say "the machine did not boot; trying once more"
        status=0
        try_once "$@" || status=$?
    fi
    case $status in
        124) show_console; say "out of time after $TIMEOUT_S s (PYRUN_VM_TIMEOUT)" ;;
        125) show_console; say "the machine did not boot, or died before the command had ended" ;;
    esac
    return $status
}

main "$@"
