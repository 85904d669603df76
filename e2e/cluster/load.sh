#!/usr/bin/env bash
# `load.sh ARCHIVE.tar...`: puts images on every node that is switched on. They are never pulled: use the pull policy
# Never or IfNotPresent, and no tag `latest`.
. "$(dirname "$0")/lib.sh"
for node in $(running_nodes); do
  for archive; do
    on "$node" ctr --namespace k8s.io images import - <"$archive" >/dev/null
  done
done
