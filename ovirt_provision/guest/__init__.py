"""What concerns the inside of a guest: first boot, addresses."""
