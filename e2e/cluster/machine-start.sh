#!/usr/bin/env bash
# `machine-start.sh control|nodeN`: switches one machine on, with the disk that it had.
. "$(dirname "$0")/lib.sh"
name=$1
if machine_pid "$name" >/dev/null; then exit 0; fi
mkdir -p "$state/$name"
rm -f "$state/$name/pid"
# enter DIR: a new cgroup, with this shell in it.
enter() {
  mkdir -p "$1"
  echo "$BASHPID" >"$1/cgroup.procs"
  echo "$1" >>"$state/$name/cgroups.new"
}
(
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    # v2: only the root may hold processes and groups with controllers at once, so the machine's group is below it.
    read -r -a controllers </sys/fs/cgroup/cgroup.controllers
    for controller in "${controllers[@]}"; do
      echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
    done
    enter "/sys/fs/cgroup/postroad-$name"
  else
    # v1: one group per hierarchy, below the caller's own, so that the caller's limits hold for the machine too.
    while IFS=: read -r _ controllers path; do
      [ -n "$controllers" ] || continue
      dir=/sys/fs/cgroup/${controllers#name=}${path%/}/postroad-$name
      mkdir -p "$dir"
      if [ "$controllers" = cpuset ]; then
        cat "$dir/../cpuset.cpus" >"$dir/cpuset.cpus"
        cat "$dir/../cpuset.mems" >"$dir/cpuset.mems"
      fi
      enter "$dir"
    done </proc/self/cgroup
  fi
  mv "$state/$name/cgroups.new" "$state/$name/cgroups"
  exec setsid unshare --net --mount --uts --ipc --pid --cgroup --fork \
    "$here/machine.sh" "$name" </dev/null >"$state/$name/machine.log" 2>&1
) &
await 10 "$name" machine_pid "$name"
# v2: a group that gives controllers on holds no processes itself; they move to a group of their own.
group=/sys/fs/cgroup/postroad-$name
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mkdir -p "$group/init"
  while read -r pid; do echo "$pid" >"$group/init/cgroup.procs"; done <"$group/cgroup.procs"
fi
ip link add "pr-$name" type veth peer name eth0 netns "$(machine_pid "$name")"
ip link set "pr-$name" master "$bridge" up
