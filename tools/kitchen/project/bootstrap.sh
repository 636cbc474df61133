#!/bin/sh
# Runs in the guest, as root.
set -eu
hostname >/etc/provisioned
echo "provisioned as $(id -un) on $(hostname), which has $(ip -4 -o address show dev eth0 | awk '{ print $4 }')"
