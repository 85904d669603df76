#!/usr/bin/env bash
# `build.sh OUT.tar NAME:TAG`: the image of the mail programs that are not ours (Postfix, Dovecot, rspamd, OpenDKIM, nsd, swaks, msmtp, Python), from
# Debian's packages. The programs' settings are not in it; peers.yaml has them.
set -euo pipefail
out=$1 name=$2
work=$(mktemp -d /var/tmp/postroad-peers.XXXXXX)
trap 'rm -rf "$work"' EXIT
packages=postfix,dovecot-core,dovecot-lmtpd,dovecot-imapd,dovecot-pop3d,swaks,msmtp,libnet-ssleay-perl
packages+=,libauthen-sasl-perl,libdigest-hmac-perl,openssl,iproute2,python3
# A verifier of signatures that asks DNS.
packages+=,python3-dkim,python3-nacl,python3-dnspython
# Filters, and a server of signed zones with what signs them.
packages+=,rspamd,opendkim,nsd,ldnsutils
mmdebstrap --quiet --variant=essential --include="$packages" \
  --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  bookworm "$work/rootfs.tar"
b() { buildah --root "$work/root" --runroot "$work/run" --storage-driver vfs "$@"; }
container=$(b from scratch)
b add --quiet "$container" "$work/rootfs.tar" / >/dev/null
rm "$work/rootfs.tar"
b commit --quiet --timestamp 0 "$container" "docker-archive:$work/image.tar:$name" >/dev/null
mv "$work/image.tar" "$out"
