"""NetworkService: calls in, messages out."""

from collections.abc import Callable

from ovirt_provision.operations.bridge import Bridge
from ovirt_provision.operations.lookups import Named, find_network, list_networks
from ovirt_provision.services.calls import Context, engine_of
from ovirt_provision.services.messages import network_message
from ovirt_provision.services.pages import page_of
from ovirt_provision.v1 import networks_pb2, networks_pb2_grpc


class NetworkServicer(networks_pb2_grpc.NetworkServiceServicer):
    def __init__(self, bridge: Callable[[], Bridge]) -> None:
        self._bridge = bridge

    async def ListNetworks(
        self, request: networks_pb2.ListNetworksRequest, context: Context
    ) -> networks_pb2.ListNetworksResponse:
        engine = engine_of(self._bridge(), request.engine, context)
        named = Named(request.name, request.name_regex)
        found = await list_networks(engine, named, data_center=request.data_center)
        page, token = page_of(found, request)
        return networks_pb2.ListNetworksResponse(
            networks=[network_message(engine.name, network) for network in page],
            next_page_token=token,
        )

    async def FindNetwork(
        self, request: networks_pb2.FindNetworkRequest, context: Context
    ) -> networks_pb2.FindNetworkResponse:
        engine = engine_of(self._bridge(), request.engine, context)
        named = Named(request.name, request.name_regex)
        found = await find_network(engine, named, data_center=request.data_center)
        return networks_pb2.FindNetworkResponse(network=network_message(engine.name, found))
