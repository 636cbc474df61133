"""Exposes the metrics to Prometheus by HTTP, on loopback or a unix socket."""

import os
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client.aiohttp import make_aiohttp_handler

from ovirt_provision import __version__, metrics, paths
from ovirt_provision.errors import Code, ProvisionError


class MetricsAddressUnusable(ProvisionError):
    """The metrics cannot be exposed where the configuration says."""

    code = Code.FAILED_PRECONDITION
    reason = "METRICS_ADDRESS_UNUSABLE"
    message = "the metrics cannot be exposed on {address}: {problem}"
    advice = "Stop what listens there, or change `metrics.listen`."


class MetricsEndpoint:
    """`GET /metrics` on one address. `update` brings the gauges up to date before each answer."""

    def __init__(self, address: paths.Address, update: Callable[[], None]) -> None:
        self._address = address
        self._update = update
        self._bake: Handler = make_aiohttp_handler()
        application = web.Application()
        application.router.add_get("/metrics", self._expose)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Begins to listen; a unix socket is open to the daemon's user alone.

        Raises MetricsAddressUnusable.
        """
        metrics.BUILD.info({"version": __version__})
        await self._runner.setup()
        before = os.umask(0o177)
        try:
            await self._site().start()
        except OSError as error:
            await self._runner.cleanup()
            problem = os.strerror(error.errno) if error.errno else str(error)
            raise MetricsAddressUnusable(address=self._address, problem=problem) from None
        finally:
            os.umask(before)

    async def close(self) -> None:
        """Stops listening, and removes the unix socket."""
        await self._runner.cleanup()
        if self._address.socket is not None:
            self._address.socket.unlink(missing_ok=True)

    def _site(self) -> web.BaseSite:
        if self._address.socket is not None:
            return web.UnixSite(self._runner, str(self._address.socket))
        host, _, port = self._address.target.rpartition(":")
        return web.TCPSite(self._runner, host.strip("[]"), int(port))

    async def _expose(self, request: web.Request) -> web.StreamResponse:
        self._update()
        return await self._bake(request)
