#!/bin/sh
# Certificates, keys and signed zones of the rig, in this folder.
#
#   own, misnamed, old               by themselves; old is over, misnamed is for another name
#   issued, issued-misnamed, -old    by `above`, which they show
#   stranger                         whom nobody shows
set -eu

new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"

# own NAME HOST DAYS
own() {
  # shellcheck disable=SC2086 # words
  openssl req -new $new -subj "/CN=$2" -addext "subjectAltName=DNS:$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -signkey "$1.key" -copy_extensions copy -days "$3" -out "$1.crt" 2>/dev/null
}

# issued NAME HOSTS DAYS
issued() {
  # shellcheck disable=SC2086 # words
  openssl req -new $new -subj /CN=issued -addext "subjectAltName=$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA above.crt -CAkey above.key -CAcreateserial -copy_extensions copy -days "$3" \
    -out "$1.crt" 2>/dev/null
  cat above.crt >>"$1.crt"
}

own own mx.key-256.secure 30
own misnamed mx.elsewhere.example 30
own old mx.old.secure -1
own stranger mx.key-256.secure 30
# shellcheck disable=SC2086 # words
openssl req -x509 $new -subj /CN=above -days 30 -keyout above.key -out above.crt 2>/dev/null
issued issued DNS:mx.above-certificate.secure,DNS:mx.above-key.secure 30
issued issued-misnamed DNS:mx.elsewhere.example 30
issued issued-old DNS:mx.above-old.secure -1

for name in own misnamed old stranger above; do
  openssl x509 -in "$name.crt" -outform DER >"$name.certificate.der"
  openssl x509 -in "$name.crt" -pubkey -noout | openssl pkey -pubin -outform DER >"$name.key.der"
  for part in certificate key; do
    for bits in 256 512; do
      digest=$("sha${bits}sum" "$name.$part.der" | cut -d ' ' -f 1)
      sed -i "s/{$name-$part-$bits}/$digest/" ./*.zone
      [ "$name-$part-$bits" != own-key-256 ] || match=$digest
    done
  done
done
! grep -n '{[a-z]*-' ./*.zone || exit 1

# sign ZONE FILE [OPTION...]
sign() {
  zone=$1 file=$2
  shift 2
  above=$(ldns-keygen -a ECDSAP256SHA256 -r /dev/urandom -k "$zone")
  below=$(ldns-keygen -a ECDSAP256SHA256 -r /dev/urandom "$zone")
  ldns-signzone "$@" -f "$file.signed" "$file" "$above" "$below"
}

sign secure. secure.zone
cat "$above.ds" >>root.zone
sign hashed. hashed.zone -n
cat "$above.ds" >>root.zone
sign bogus. bogus.zone -i 20200101 -e 20200201
cat "$above.ds" >>root.zone
sign . root.zone
grep -v '^;' "$above.key" | sed 's/;.*//' >anchor
printf '. 300 NS ns.\nns. 300 A 127.0.0.2\n' >hints

nothing=0000000000000000000000000000000000000000000000000000000000000000
grep -q "$nothing" secure.zone.signed
sed -i "s/$nothing/$match/" secure.zone.signed
