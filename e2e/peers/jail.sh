#!/bin/sh
# `jail.sh ROOT SCRATCH [HOST INSIDE]...`, as the first process of new mount and process namespaces: makes the root file
# system, ROOT below what is written and SCRATCH above, and stays as the reaper until standard input ends. ROOT `/` is
# this computer's own root, without a layer. Everything made here ends with the namespaces.
set -eu
root=$1 scratch=$2
shift 2
read -r pid _ </proc/self/stat # /proc is still the outer one: this is the number that the outside knows
if [ "$root" = / ]; then
  top=
  mount -t proc proc /proc
else
  top=$scratch/top
  mkdir -p "$scratch/upper" "$scratch/work" "$top"
  mount -t overlay overlay -o "lowerdir=$root,upperdir=$scratch/upper,workdir=$scratch/work" "$top"
  mount -t proc proc "$top/proc"
  mount -t tmpfs -o mode=755 dev "$top/dev"
  mkdir "$top/dev/shm" "$top/dev/pts"
  mount -t tmpfs -o mode=1777 shm "$top/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$top/dev/pts"
  ln -s pts/ptmx "$top/dev/ptmx"
  ln -s /proc/self/fd "$top/dev/fd"
  for device in null zero full random urandom tty; do
    touch "$top/dev/$device"
    mount --bind "/dev/$device" "$top/dev/$device"
  done
  cp /etc/hosts /etc/resolv.conf "$top/etc/"
fi
while [ $# -gt 1 ]; do
  mkdir -p "$top$2"
  mount --bind "$1" "$top$2"
  shift 2
done
# shellcheck disable=SC2016 # Perl's variables
reaper='
  $| = 1;
  $SIG{CHLD} = sub { 1 while waitpid(-1, 1) > 0 };
  print "$ARGV[0]\n";
  while (1) { my $read = sysread(STDIN, my $octet, 1); last if defined $read && $read == 0 }'
if [ "$root" = / ]; then
  exec perl -e "$reaper" "$pid"
fi
exec chroot "$top" perl -e "$reaper" "$pid"
