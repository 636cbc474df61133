"""Disk images outside the engine: the files that the daemon has of them, and how they get in and out."""
