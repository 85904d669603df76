#!/usr/bin/env bash
# `up.sh [NODES]`: starts the cluster, with two nodes unless told otherwise. One that is up and answers is left alone.
. "$(dirname "$0")/lib.sh"
count=${1:-2}
((count >= 1 && count <= max_nodes)) || { echo "1 to $max_nodes nodes" >&2; exit 2; }

"$here/build.sh"
PATH=$bin:$PATH
if "$here/health.sh" "$count" >/dev/null 2>&1; then
  echo "The cluster is up already."
  by=$(cat "$state/made-by" 2>/dev/null || echo "an older version of these scripts")
  if [ "$by" != "$here" ]; then
    echo "It was started by $by, not by $here."
    echo "It is used as it is, and the Postroad on it is replaced by this tree's. For a new one: cargo demo -- down, then again."
  fi
  exit 0
fi
"$here/down.sh" # what a crash or an older cluster left
mkdir -p "$state"/{pki,volumes}
echo "$here" >"$state/made-by"
# The volumes have a file system of their own: how full this computer's disk is decides nothing about a queue.
truncate --size 32G "$state/volumes.img"
mkfs.ext4 -q -N 65536 -m 0 -J size=64 "$state/volumes.img"
mount -o loop,discard "$state/volumes.img" "$state/volumes"
pki=$state/pki
chmod 700 "$pki"

# --- who is who -----------------------------------------------------------------------------------------------------
config=$pki/openssl.cnf
printf '[req]\ndistinguished_name = dn\n[dn]\n' >"$config" # nothing of the system's own settings

issue() { # FILE SUBJECT OPENSSL-OPTION...: a key and a certificate
  local file=$1 subject=$2
  shift 2
  openssl req -x509 -config "$config" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
    -keyout "$pki/$file.key" -out "$pki/$file.crt" -subj "$subject" "$@" 2>/dev/null
}
authority() { # NAME
  issue "$1" "/CN=postroad-$1" \
    -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign
}
certificate() { # AUTHORITY NAME SUBJECT [ALTERNATIVE-NAMES]
  local names=()
  [ -z "${4:-}" ] || names=(-addext "subjectAltName=$4")
  issue "$2" "$3" -CA "$pki/$1.crt" -CAkey "$pki/$1.key" -addext basicConstraints=critical,CA:false \
    -addext keyUsage=critical,digitalSignature -addext extendedKeyUsage=clientAuth,serverAuth "${names[@]}"
}
kubeconfig() { # NAME: a file to log in with that certificate
  (umask 077 && cat >"$state/$1.kubeconfig") <<YAML
apiVersion: v1
kind: Config
current-context: postroad
contexts: [{name: postroad, context: {cluster: postroad, user: $1}}]
clusters:
- name: postroad
  cluster: {server: "https://$net.10:6443", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$pki/$1.crt")
    client-key-data: $(base64 -w0 "$pki/$1.key")
YAML
}
user() { # NAME SUBJECT
  certificate ca "$1" "$2"
  kubeconfig "$1"
}

authority ca
authority front-ca
certificate front-ca front-proxy /CN=front-proxy
cluster_names=kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
certificate ca apiserver /CN=kube-apiserver "IP:$net.10,IP:${services%.*}.1,DNS:$cluster_names"
certificate ca apiserver-client /O=system:masters/CN=kube-apiserver
openssl ecparam -name prime256v1 -genkey -noout -out "$pki/service-account.key"
openssl ec -in "$pki/service-account.key" -pubout -out "$pki/service-account.pub" 2>/dev/null
user admin /O=system:masters/CN=admin
user controller-manager /CN=system:kube-controller-manager
user scheduler /CN=system:kube-scheduler
user proxy /CN=system:kube-proxy
user provisioner /CN=provisioner

# --- machines -------------------------------------------------------------------------------------------------------
ip link add "$bridge" type bridge
ip address add "$net.1/24" dev "$bridge"
ip link set "$bridge" up
for ((n = 1; n <= max_nodes; n++)); do
  ip route add "$pods.$n.0/24" via "$(node_ip "node$n")"
done
ip route add "$services" via "$(node_ip node1)"

"$here/machine-start.sh" control
for ((n = 1; n <= count; n++)); do
  certificate ca "node$n" "/O=system:nodes/CN=system:node:node$n" "IP:$(node_ip "node$n"),DNS:node$n"
  kubeconfig "node$n"
  "$here/machine-start.sh" "node$n"
done

# --- what every cluster has -----------------------------------------------------------------------------------------
await 90 "the API server" kubectl get --raw /readyz
kubectl apply --filename "$here/manifests" >"$state/apply.log"
await 120 "$count nodes with DNS" "$here/health.sh" "$count"
echo "The cluster is up after $SECONDS s: export KUBECONFIG=$KUBECONFIG PATH=$bin:\$PATH"
