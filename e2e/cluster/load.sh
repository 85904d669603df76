#!/usr/bin/env bash
# `load.sh ARCHIVE.tar...`: puts images on every node that is switched on; an archive that a node has already is not read
# again. They are never pulled: use the pull policy Never or IfNotPresent, and no tag `latest`.
. "$(dirname "$0")/lib.sh"
for node in $(running_nodes); do
  mkdir -p "$state/$node/loaded"
  for archive; do
    mark=$state/$node/loaded/$(basename "$archive")
    if [ "$mark" -nt "$archive" ]; then continue; fi
    on "$node" ctr --namespace k8s.io images import - <"$archive" >/dev/null
    touch "$mark"
  done
done
