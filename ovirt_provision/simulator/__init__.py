"""An oVirt engine to develop and test against: REST API v4, SSO, jobs, locks, events and search."""

from ovirt_provision.simulator.simulator import Simulator

__all__ = ["Simulator"]
