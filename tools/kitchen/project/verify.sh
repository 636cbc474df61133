# Runs beside Test Kitchen, and looks into the guest by a connection of its own.
set -eu
told=$(ssh -F none -i "$KITCHEN_SSH_KEY" -p "${GUEST_SSH_PORT:-22}" -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
    -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "$KITCHEN_USERNAME@$KITCHEN_HOSTNAME" cat /etc/provisioned)
[ "$told" = "$KITCHEN_INSTANCE" ]
echo "verified: /etc/provisioned of $KITCHEN_HOSTNAME says $told"
