"""Guests that only seem to run: a file tree each, an SSH server that takes keys, and Docker's port.

Far lighter than a system under QEMU: all are in this process, twenty of them on two cores.
"""
