# shellcheck shell=bash disable=SC2034
# Shared by the scripts of this folder: where things are, and a few small functions. README.md tells how it all fits.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The cluster's programs, kept between runs. The folder is named after all that they are made from.
key=$(cd "$here" && cat build.sh image.sh go.mod go.sum ./*/*.go | sha256sum | cut -c1-16)
cache=${POSTROAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/postroad}/cluster/$key
bin=$cache/bin
# All that a running cluster writes; down.sh deletes it. Every machine has a /run, /var/lib and /var/log of its own, so
# it must be elsewhere.
state=${POSTROAD_CLUSTER_STATE:-/var/tmp/postroad-cluster}
export KUBECONFIG=$state/admin.kubeconfig

bridge=postroad0
net=10.89.0   # .1 is this computer, .10 the control plane, .11 and up the nodes
pods=10.244   # 10.244.N.0/24 are the pods of node N
services=10.96.0.0/16
dns_ip=10.96.0.10
max_nodes=4

node_ip() { echo "$net.$((10 + ${1#node}))"; }

# machine_pid NAME: PID 1 of that machine as this computer counts, while it runs. A pid alone could have been given to
# somebody else since, so its start time is compared as well.
machine_pid() {
  local pid start
  read -r pid start 2>/dev/null <"$state/$1/pid" || return 1
  [ "$(cut -d' ' -f22 "/proc/$pid/stat" 2>/dev/null)" = "$start" ] && echo "$pid"
}

# on NAME COMMAND...: runs the command on that machine.
on() {
  local pid
  pid=$(machine_pid "$1") || { echo "$1 is switched off" >&2; return 1; }
  shift
  nsenter --target "$pid" --mount --net --pid --uts --ipc --cgroup -- "$@"
}

# running_nodes: the names of the nodes that are switched on.
running_nodes() {
  local dir name
  for dir in "$state"/node*/; do
    name=$(basename "$dir")
    if machine_pid "$name" >/dev/null; then echo "$name"; fi
  done
}

# loops FOLDER: the loop devices that are attached to files below that folder of $state, as `/volumes/`.
loops() {
  losetup --list --noheadings --output NAME,BACK-FILE | awk -v dir="$state$1" 'index($2, dir) == 1 { print $1 }'
}

# await SECONDS WHAT COMMAND...: polls the command. If it never succeeds, its last words are shown.
await() {
  local deadline=$((SECONDS + $1)) what=$2 words
  shift 2
  until words=$("$@" 2>&1); do
    if [ $SECONDS -ge $deadline ]; then
      echo "gave up waiting for $what: $words" >&2
      return 1
    fi
    sleep 0.2
  done
}
