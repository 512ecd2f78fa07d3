"""The cookbook's page on zeep, with a stub of a SOAP service."""

import asyncio

import httpx
import pytest
import requests
import zeep
from kit.servers.base import Answer
from kit.servers.guarded import Guarded
from zeep.transports import AsyncTransport

from tokenkeeper.integrations.httpx import KeeperAuth

WSDL = """<?xml version="1.0"?>
<definitions name="Shop" targetNamespace="urn:shop" xmlns="http://schemas.xmlsoap.org/wsdl/"
    xmlns:s="urn:shop" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
    xmlns:xsd="http://www.w3.org/2001/XMLSchema">
  <message name="PriceIn"><part name="item" type="xsd:string"/></message>
  <message name="PriceOut"><part name="price" type="xsd:string"/></message>
  <portType name="Shop">
    <operation name="Price"><input message="s:PriceIn"/><output message="s:PriceOut"/></operation>
  </portType>
  <binding name="Shop" type="s:Shop">
    <soap:binding style="rpc" transport="http://schemas.xmlsoap.org/soap/http"/>
    <operation name="Price">
      <soap:operation soapAction="urn:shop#Price"/>
      <input><soap:body use="literal" namespace="urn:shop"/></input>
      <output><soap:body use="literal" namespace="urn:shop"/></output>
    </operation>
  </binding>
  <service name="Shop">
    <port name="Shop" binding="s:Shop"><soap:address location="{url}/shop"/></port>
  </service>
</definitions>
"""
PRICE = b"""<?xml version="1.0"?>
<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>
<s:PriceResponse xmlns:s="urn:shop"><price>42 EUR</price></s:PriceResponse>
</e:Body></e:Envelope>
"""


class Shop(Guarded):
    """A stub whose description needs a token as well."""

    def granted(self, request):
        is_call = request.method == "POST"
        body = PRICE if is_call else WSDL.format(url=self.origin).encode()
        return Answer(200, body, {"Content-Type": "text/xml"})


@pytest.fixture
def wsdl(server):
    """Return the URL of the service's description."""
    with Shop(server.is_alive) as shop:
        yield f"{shop.origin}/shop?wsdl"


def test_a_crowd_recovers_with_one_renewal(server, source, wsdl, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each gets its answer."""
    with requests.Session() as session:
        session.auth = source.auth()
        client = zeep.Client(wsdl, transport=zeep.Transport(session=session))

        def price():
            return client.service.Price("apples")

        assert crowd(8, price) == ["42 EUR"] * 8
        server.revoke_all()
        assert crowd(8, price) == ["42 EUR"] * 8
    assert requests_of() == 2


def test_a_crowd_of_tasks_recovers_with_one_renewal(
    server, source, wsdl, crowd_of_tasks, requests_of
):
    """Tasks of an async client share one renewal, and each gets its answer."""
    auth = KeeperAuth(source)

    async def main():
        with httpx.Client(auth=auth) as loading:
            async with httpx.AsyncClient(auth=auth) as calling:
                transport = AsyncTransport(client=calling, wsdl_client=loading)
                client = zeep.AsyncClient(wsdl, transport=transport)

                async def price():
                    return await client.service.Price("apples")

                assert await crowd_of_tasks(8, price) == ["42 EUR"] * 8
                server.revoke_all()
                assert await crowd_of_tasks(8, price) == ["42 EUR"] * 8

    asyncio.run(main())
    assert requests_of() == 2


def test_the_example_runs(run_example, wsdl):
    """The example asks for a price."""
    assert run_example("zeep", WSDL_URL=wsdl) == "42 EUR\n"
