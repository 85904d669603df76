#!/usr/bin/env bash
# `machine-start.sh control|nodeN`: switches one machine on, with the disk that it had.
. "$(dirname "$0")/lib.sh"
name=$1
if machine_pid "$name" >/dev/null; then exit 0; fi
mkdir -p "$state/$name"
rm -f "$state/$name/pid"
(
  # One cgroup per hierarchy, below the caller's own: the caller's limits hold for the machine too.
  while IFS=: read -r _ controllers path; do
    [ -n "$controllers" ] || continue
    dir=/sys/fs/cgroup/${controllers#name=}${path%/}/postroad-$name
    mkdir -p "$dir"
    if [ "$controllers" = cpuset ]; then
      cat "$dir/../cpuset.cpus" >"$dir/cpuset.cpus"
      cat "$dir/../cpuset.mems" >"$dir/cpuset.mems"
    fi
    echo "$BASHPID" >"$dir/cgroup.procs"
    echo "$dir" >>"$state/$name/cgroups.new"
  done </proc/self/cgroup
  mv "$state/$name/cgroups.new" "$state/$name/cgroups"
  exec setsid unshare --net --mount --uts --ipc --pid --cgroup --fork \
    "$here/machine.sh" "$name" </dev/null >"$state/$name/machine.log" 2>&1
) &
await 10 "$name" machine_pid "$name"
ip link add "pr-$name" type veth peer name eth0 netns "$(machine_pid "$name")"
ip link set "pr-$name" master "$bridge" up
