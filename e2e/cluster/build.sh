#!/usr/bin/env bash
# Builds the cluster's programs and its two images into the cache, once: minutes the first time, nothing afterwards.
. "$(dirname "$0")/lib.sh"
if [ -e "$cache/done" ]; then exit 0; fi
"$here/packages.sh"
cd "$here"
rm -rf "$cache"
mkdir -p "$bin" "$cache/images"

# Static programs, so that CoreDNS runs from an empty image. Collecting garbage less often makes the compiler quicker.
export CGO_ENABLED=0 GOGC=400 GOFLAGS="${GOFLAGS:-} -trimpath"
kube=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
helm=$(go list -m -f '{{.Version}}' helm.sh/helm/v4)
IFS=. read -r major minor _ <<<"${kube#v}"
# Without these every program says v0.0.0-master, and charts go by that version.
v=k8s.io/component-base/version
stamp="-X $v.gitVersion=$kube -X $v.gitMajor=$major -X $v.gitMinor=$minor -X $v.gitTreeState=clean"

# program NAME PACKAGE [STAMPS]
program() {
  local start=$SECONDS
  go build -ldflags "-s -w ${3:-}" -o "$bin/$1" "$2"
  echo "$1: $((SECONDS - start)) s, $(($(stat -c %s "$bin/$1") / 1000000)) MB"
}
program kube ./kube "$stamp"
for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
  ln -sf kube "$bin/$name"
done
program etcd go.etcd.io/etcd/server/v3
program coredns ./coredns
program provisioner ./provisioner
program helm helm.sh/helm/v4/cmd/helm "$stamp -X helm.sh/helm/v4/internal/version.version=$helm"

# The first process of every pod is one C file of the Kubernetes module.
gcc -Os -static -DVERSION=1 -o "$bin/pause" "$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)/build/pause/linux/pause.c"
for name in pause coredns; do
  ./image.sh "postroad.invalid/$name:1" "$cache/images/$name.tar" "$bin/$name" 0
done
touch "$cache/done"
