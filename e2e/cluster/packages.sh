#!/usr/bin/env bash
# Checks for the Debian packages that the cluster, the images and the peers need. As root on Debian it installs what is
# missing; otherwise it names exactly that and fails. `packages.sh --check` only checks.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

# PROGRAM=PACKAGE: a program that is there already is used, wherever it is from.
programs=(
  containerd=containerd runc=runc buildah=buildah nft=nftables iptables=iptables ip=iproute2 openssl=openssl
  /usr/lib/cni/bridge=containernetworking-plugins nsenter=util-linux losetup=mount mkfs.ext4=e2fsprogs
  gcc=gcc mmdebstrap=mmdebstrap swaks=swaks msmtp=msmtp git=git
)
# Things that are no programs: static libc, TLS and SASL for swaks.
libraries=(libc6-dev libnet-ssleay-perl libauthen-sasl-perl)

missing=()
for pair in "${programs[@]}"; do
  command -v "${pair%=*}" >/dev/null || missing+=("${pair#*=}")
done
for package in "${libraries[@]}"; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done

failed=0
if [ ${#missing[@]} -gt 0 ]; then
  if [ "${1:-}" != --check ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}"
    apt-get update -qq
    # No recommends: they bring a second container runtime and a mail server along.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    echo "These Debian packages are missing: ${missing[*]}" >&2
    echo "Install them as root: apt-get install --no-install-recommends ${missing[*]}" >&2
    failed=1
  fi
fi
if ! command -v go >/dev/null; then
  echo "Go 1.26 or newer is missing (https://go.dev/dl/); 'go' must be in PATH. Debian 12's golang is too old." >&2
  failed=1
fi
if [ "$(id -u)" != 0 ]; then
  echo "The local cluster needs root (namespaces, mounts, a bridge): run this as root, or use --cluster current." >&2
  failed=1
fi
exit $failed
