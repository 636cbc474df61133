#!/bin/sh
# Makes of a Debian or Ubuntu machine what docker-machine and rancher-machine expect of a template. As root; again does no harm.
set -eu
export DEBIAN_FRONTEND=noninteractive

packages="cloud-init qemu-guest-agent openssh-server sudo curl iproute2"
command -v docker >/dev/null || packages="$packages docker.io"
# shellcheck disable=SC2086 # these are words
installed=$(dpkg-query --show --showformat='${Package}=${db:Status-Abbrev}\n' $packages 2>/dev/null || true)
missing=
for package in $packages; do
    case $installed in
        *"$package=ii"*) ;;
        *) missing="$missing $package" ;;
    esac
done
if [ -n "$missing" ]; then
    apt-get update
    # shellcheck disable=SC2086 # these are words
    apt-get install --yes --no-install-recommends $missing
fi

# The host writes its certificates there, and starts Docker by this path; Debian's dockerd is in sbin.
mkdir -p /etc/docker
[ -x /usr/bin/dockerd ] || ln -s ../sbin/dockerd /usr/bin/dockerd
test -x /usr/bin/dockerd
systemctl is-enabled --quiet docker || systemctl --quiet enable docker
