#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the embedded pool's file system and becomes its first process.
#
# Runs in new mount, pid and UTS namespaces, so every mount here and every process after it is
# gone when this process ends, however it ends.
#
# usage: enter.sh ROOT POOL NAME
#   ROOT  the cached Debian root, only read
#   POOL  the pool's directory: layers/ and share/ (made anew), spool/ node/ log/ libvirt/ (kept)
#   NAME  host name inside
set -eu
# Debian's tree is for every user of it, whatever the caller keeps to itself.
umask 022

root=$1
pool=$2
name=$3

cd "$pool"
hostname "$name"
mount --make-rprivate /

# Bind mounts give the layers names without characters that overlayfs reads as separators.
mkdir -p layers/lower layers/upper layers/work layers/root
mount --bind "$root" layers/lower
cd layers
if ! mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work root 2>/dev/null; then
    # No overlayfs here (some containers): a copy serves as well, more slowly.
    cp -a --reflink=auto lower/. root/
    cp -a upper/. root/
    mount --bind root root
fi
cd root

mount -t proc -o nosuid,nodev,noexec proc proc
mount --rbind /sys sys
mount -t tmpfs -o mode=755,nosuid tmpfs run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp

# Devices of our own: what libvirt changes on them does not reach the host's.
mount -t tmpfs -o mode=755,nosuid tmpfs dev
mkdir -p dev/pts dev/shm dev/net
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
if [ -c /dev/net/tun ]; then mknod -m 666 dev/net/tun c 10 200; fi
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm

mkdir -p var/spool/condor var/log/condor var/lib/condor-cloud-node var/cache/libvirt
mkdir -p share-condor-cloud
mount --bind "$pool/spool" var/spool/condor
mount --bind "$pool/log" var/log/condor
mount --bind "$pool/node" var/lib/condor-cloud-node
mount --bind "$pool/libvirt" var/cache/libvirt
mount --bind "$pool/share" share-condor-cloud

exec chroot . /usr/bin/python3 -I /usr/lib/condor-cloud/init.py
