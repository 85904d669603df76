#!/usr/bin/env bash
# `machine-stop.sh control|nodeN`: pulls the plug of one machine. Nothing on it can say goodbye; its disk stays.
. "$(dirname "$0")/lib.sh"
name=$1
if pid=$(machine_pid "$name"); then
  kill -KILL "$pid" # with its first process the kernel ends the whole namespace
  await 20 "the end of $name" test ! -e "/proc/$pid"
fi
rm -f "$state/$name/pid"
[ -e "$state/$name/cgroups" ] || exit 0
while read -r dir; do
  # The cgroup of a container that was killed just now can be busy for a moment.
  # shellcheck disable=SC2016 # the inner shell's $1
  await 10 "the cgroups of $name" sh -c '[ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} +' sh "$dir" || true
done <"$state/$name/cgroups"
rm "$state/$name/cgroups"
