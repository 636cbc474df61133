"""Crash-safe, leak-free provisioning on oVirt: a gRPC daemon, its command line and an engine simulator."""

__version__ = "0.1.0"
