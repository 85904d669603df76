#!/usr/bin/env bash
# Ends the cluster and deletes all that it wrote. The cache stays.
. "$(dirname "$0")/lib.sh"
for dir in "$state"/*/; do
  if [ -e "$dir/cgroups" ]; then "$here/machine-stop.sh" "$(basename "$dir")"; fi
done
# The kernel unmounted the `bounded` volumes with their nodes; their devices are still attached.
for device in $(loops /volumes/); do losetup --detach "$device"; done
if mountpoint --quiet "$state/volumes"; then umount "$state/volumes"; fi
for device in $(loops /); do losetup --detach "$device"; done
if ip link show "$bridge" >/dev/null 2>&1; then ip link delete "$bridge"; fi
rm -rf "$state"
