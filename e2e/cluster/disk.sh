#!/usr/bin/env bash
# `disk.sh freeze|thaw|break VOLUME`: what disks do, to a volume of the class `bounded` that is mounted. `freeze`: writes
# wait, until `thaw`. `break`: nothing is read or written any more, and what was not synced is gone.
. "$(dirname "$0")/lib.sh"
what=$1 volume=$2
device=$(losetup --associated "$state/volumes/$volume.img" --noheadings --output NAME)
[ -n "$device" ] || { echo "$volume has no device" >&2; exit 1; }
for node in $(running_nodes); do
  folder=$(on "$node" findmnt --noheadings --first-only --output TARGET --source "$device" || true)
  [ -n "$folder" ] || continue
  case $what in
    freeze) on "$node" fsfreeze --freeze "$folder" ;;
    thaw) on "$node" fsfreeze --unfreeze "$folder" ;;
    break)
      # FS_IOC_SHUTDOWN without flushing the log.
      # shellcheck disable=SC2016 # Perl's variables
      on "$node" perl -e \
        'open(my $d, "<", $ARGV[0]) or die $!; my $f = pack("I", 2); ioctl($d, 0x8004587d, $f) or die $!' "$folder"
      ;;
    *) echo "a disk does not $what" >&2; exit 2 ;;
  esac
  exit
done
echo "$volume is mounted on no node" >&2
exit 1
