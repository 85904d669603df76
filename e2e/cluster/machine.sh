#!/usr/bin/env bash
# First process of one machine of the cluster, `machine.sh control` or `machine.sh nodeN`, in namespaces of its own.
# All options of all programs are here. When this process is killed the kernel ends everything of the machine with it.
. "$(dirname "$0")/lib.sh"
name=$1
dir=$state/$name
pki=$state/pki

# Our pid as the computer counts, read while /proc is still the computer's.
read -r -a stat </proc/self/stat
echo "${stat[0]} ${stat[21]}" >"$dir/pid.new"
mv "$dir/pid.new" "$dir/pid"

# --- mounts and network ---------------------------------------------------------------------------------------------
hostname "$name"
mount --make-rshared / # the kubelet hands mounts on to containers
mount -t proc proc /proc
mount -t sysfs sysfs /sys # shows this machine's interfaces
if grep -q '^[1-9]' /proc/self/cgroup; then
  mount -t tmpfs tmpfs /sys/fs/cgroup
  while IFS=: read -r _ controllers _; do
    [ -n "$controllers" ] || continue # the v2 hierarchy
    options=$controllers
    case $controllers in name=*) options=none,$controllers ;; esac
    mkdir "/sys/fs/cgroup/${controllers#name=}"
    mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/${controllers#name=}"
  done </proc/self/cgroup
else
  mount -t cgroup2 cgroup /sys/fs/cgroup
  until [ -z "$(cat /sys/fs/cgroup/cgroup.procs)" ]; do sleep 0.05; done # machine-start.sh moves us to a group below
  read -r -a controllers </sys/fs/cgroup/cgroup.controllers
  for controller in "${controllers[@]}"; do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
  done
fi
mkdir -p "$dir"/lib/{kubelet,containerd,cni} "$dir"/log/{pods,containers}
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$dir/lib" /var/lib
mount --bind "$dir/log" /var/log

until [ -e /sys/class/net/eth0 ]; do sleep 0.05; done # machine-start.sh plugs it in
ip link set lo up
if [ "$name" = control ]; then address=$net.10; else address=$(node_ip "$name"); fi
ip address add "$address/24" dev eth0
ip link set eth0 up
for ((n = 1; n <= max_nodes; n++)); do
  [ "$name" = "node$n" ] || ip route add "$pods.$n.0/24" via "$(node_ip "node$n")"
done

# keep NAME COMMAND...: runs a program, and runs it again when it ends.
keep() {
  local log=$dir/$1.log
  shift
  while :; do
    "$@" >>"$log" 2>&1 || echo "--- ended with $?" >>"$log"
    sleep 1
  done &
}

# --- the control plane ----------------------------------------------------------------------------------------------
control() {
  # Nothing is synced to disk: the data lives no longer than the cluster.
  keep etcd etcd --name control --data-dir "$dir/etcd" --unsafe-no-fsync --logger zap --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
  # No kube-proxy runs here, so aggregated APIs are called at their pods (--enable-aggregator-routing).
  keep kube-apiserver kube-apiserver \
    --etcd-servers http://127.0.0.1:2379 --advertise-address "$address" --secure-port 6443 \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged \
    --service-cluster-ip-range "$services" --enable-aggregator-routing \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$pki/service-account.pub" \
    --service-account-signing-key-file "$pki/service-account.key" \
    --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$pki/apiserver-client.crt" --kubelet-client-key "$pki/apiserver-client.key" \
    --requestheader-client-ca-file "$pki/front-ca.crt" --requestheader-allowed-names front-proxy \
    --requestheader-extra-headers-prefix X-Remote-Extra- --requestheader-group-headers X-Remote-Group \
    --requestheader-username-headers X-Remote-User \
    --proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key"
  until kubectl get --raw /readyz >/dev/null 2>&1; do sleep 0.2; done
  keep kube-controller-manager kube-controller-manager --leader-elect=false \
    --kubeconfig "$state/controller-manager.kubeconfig" \
    --authentication-kubeconfig "$state/controller-manager.kubeconfig" \
    --authorization-kubeconfig "$state/controller-manager.kubeconfig" \
    --use-service-account-credentials --service-account-private-key-file "$pki/service-account.key" \
    --root-ca-file "$pki/ca.crt" --service-cluster-ip-range "$services" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key"
  keep kube-scheduler kube-scheduler --leader-elect=false --kubeconfig "$state/scheduler.kubeconfig" \
    --authentication-kubeconfig "$state/scheduler.kubeconfig" \
    --authorization-kubeconfig "$state/scheduler.kubeconfig"
  keep provisioner provisioner --kubeconfig "$state/provisioner.kubeconfig" --dir "$state/volumes"
}

# --- a node ---------------------------------------------------------------------------------------------------------
# own_sysctl NAME=VALUE...: the kubelet writes some settings of the whole kernel. It gets files that hold what it wants,
# so that this computer keeps its own.
own_sysctl() {
  local setting
  for setting; do
    mkdir -p "/run/sysctl/$(dirname "$setting")"
    echo "${setting#*=}" >"/run/sysctl/${setting%=*}"
    mount --bind "/run/sysctl/${setting%=*}" "/proc/sys/${setting%=*}"
  done
}

write_config() {
  mkdir -p "$dir/cni"
  cat >"$dir/cni/10-bridge.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isDefaultGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods.${name#node}.0/24"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
JSON
  # Lowering a process's OOM score needs CAP_SYS_RESOURCE, which a container or a small virtual machine may lack.
  cat >"$dir/containerd.toml" <<TOML
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "postroad.invalid/pause:1"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$dir/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
TOML
  : >"$dir/resolv.conf" # dnsPolicy Default: no name server at all
  # An image that came from a file cannot be pulled again, so none is ever collected.
  cat >"$dir/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $pki/$name.crt
tlsPrivateKeyFile: $pki/$name.key
clusterDomain: cluster.local
clusterDNS: [$dns_ip]
resolvConf: $dir/resolv.conf
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi}
YAML
  # The limits of connection tracking are the whole kernel's and cannot be set from here.
  cat >"$dir/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ${POSTROAD_CLUSTER_PROXY:-nftables}
clientConnection: {kubeconfig: $state/proxy.kubeconfig}
clusterCIDR: $pods.0.0/16
conntrack: {maxPerCore: 0, min: 0}
YAML
}

node() {
  # Answers between two pods of one node must pass the firewall too, or a service's address is not translated back.
  echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
  echo 1 >/proc/sys/net/ipv4/ip_forward
  own_sysctl vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000
  write_config
  keep containerd containerd --config "$dir/containerd.toml"
  until [ -S /run/containerd/containerd.sock ]; do sleep 0.1; done
  until ctr --namespace k8s.io images import "$cache/images/pause.tar"; do sleep 0.5; done >>"$dir/images.log" 2>&1
  ctr --namespace k8s.io images import "$cache/images/coredns.tar" >>"$dir/images.log" 2>&1
  keep kubelet kubelet --config "$dir/kubelet.yaml" --kubeconfig "$state/$name.kubeconfig" \
    --hostname-override "$name" --node-ip "$address"
  keep kube-proxy kube-proxy --config "$dir/proxy.yaml" --hostname-override "$name"
}

PATH=$bin:$PATH
if [ "$name" = control ]; then control; else node; fi
wait
