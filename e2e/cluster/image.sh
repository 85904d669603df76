#!/usr/bin/env bash
# `image.sh NAME:TAG OUT.tar PROGRAM [UID]`: an image FROM scratch that holds one static program and runs it as UID.
set -euo pipefail
name=$1 out=$2 program=$3 uid=${4:-65532}
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
# A store of its own leaves the computer's as it is; nothing is mounted and nothing is run in it.
b() { buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"; }
container=$(b from scratch)
path=/$(basename "$program")
b copy --quiet --chmod 755 "$container" "$program" "$path" >/dev/null
b config --entrypoint "[\"$path\"]" --user "$uid:$uid" "$container"
rm -f "$out"
b commit --quiet --timestamp 0 "$container" "docker-archive:$out:$name" >/dev/null
