#!/bin/sh
# Runs inside the virtual machine, as root: does what run.sh left in .cache/vm/run, and leaves the result there.
cd "$(dirname "$0")/../.." || exit 125
run=.cache/vm/run
. $run/environment
export PYRUN_VM=1 HOME=/root
# Outside the work tree everything written is lost with the machine; a cache of byte code would be written through slowly.
export PYTHONDONTWRITEBYTECODE=1
ulimit -n 65536
ip link set lo up
: >$run/started

eval "set -- $(cat $run/command)"
{
    printf 'vm: Linux %s, cgroup v2 with %s\n' "$(uname -r)" "$(cat /sys/fs/cgroup/cgroup.controllers)"
    "$@"
    status=$?
} >>$run/output 2>&1
sync
# Renamed into place: what is there is complete.
echo $status >$run/status.new && mv $run/status.new $run/status
exit $status
