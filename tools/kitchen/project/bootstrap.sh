#!/bin/sh
# Runs in the guest, as root.
set -eu
hostname >/etc/provisioned
echo "provisioned as $(id -un) on $(hostname)"
