#!/usr/bin/env bash
# `health.sh [NODES]`: fails with a sentence unless the API answers, that many nodes are Ready and DNS runs.
. "$(dirname "$0")/lib.sh"
count=${1:-2}
PATH=$bin:$PATH
machine_pid control >/dev/null || { echo "the control plane is switched off" >&2; exit 1; }
kubectl get --raw /readyz --request-timeout 5s >/dev/null
ready=$(kubectl get nodes --request-timeout 5s \
  --output 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}' | grep -ow True | wc -l)
[ "$ready" = "$count" ] || { echo "$ready of $count nodes are Ready" >&2; exit 1; }
kubectl rollout status --namespace kube-system deployment/coredns --timeout 2s >/dev/null
