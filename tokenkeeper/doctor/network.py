"""The network between here and the server: proxy, DNS and TCP."""

from __future__ import annotations

import socket
from importlib.util import find_spec

from urllib3.util.connection import allowed_gai_family

from tokenkeeper.doctor.examination import Examination
from tokenkeeper.doctor.findings import Finding, Report, Step, failure, note, ok, warning
from tokenkeeper.doctor.route import find_route
from tokenkeeper.doctor.time_limit import within

__all__ = ["check_dns", "check_proxy", "check_tcp"]


def check_proxy(examination: Examination) -> Report:
    """Report which proxy requests uses for the provider's URL, if any."""
    facts = examination.facts
    try:
        examination.route = route = find_route(facts.requested_url, facts.verify)
    except ValueError as unreadable:
        finding = failure(
            f"{unreadable} is not a valid URL of a proxy",
            "write it as http://host:port",
        )
        return Report(Step.PROXY, (finding,))
    measured = {"proxy": route.proxy, "named_by": route.named_by}
    if (route.proxy or "").startswith("socks") and find_spec("socks") is None:
        finding = failure(f"{route.proxy} needs PySocks", 'pip install "requests[socks]"')
        return Report(Step.PROXY, (finding,), measured)
    if route.proxy is None:
        why = f": NO_PROXY names {facts.host}" if route.bypassed else ""
        return Report(Step.PROXY, (ok(f"none{why}"),), measured)
    origin = f", from {route.named_by}" if route.named_by else ""
    secret = ", with credentials" if route.credentials else ""
    return Report(Step.PROXY, (note(f"{route.proxy}{origin}{secret}"),), measured)


def check_dns(examination: Examination) -> Report:
    """Resolve the host to connect to, as the transport does."""
    host, port = examination.first_stop

    def resolve() -> list[str]:
        found = socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM)
        return [str(where[0]) for *_, where in found]

    try:
        host.encode("ascii")  # requests encodes host names, or rejects them
        examination.addresses = list(dict.fromkeys(within(examination.timeout, resolve)))
    except TimeoutError:
        finding = failure(
            f"{host}: the resolver did not answer within {examination.timeout:g} s",
            "check this machine's resolver (/etc/resolv.conf) and the network between",
        )
    except socket.gaierror as error:
        finding = _unresolved(host, error, is_proxy=examination.route.proxy is not None)
    except (OSError, UnicodeError):
        finding = failure(f"{host}: not a valid host name", "check the spelling of the host")
    else:
        addresses = examination.addresses
        is_address = addresses == [host]
        text = f"{host} is an address" if is_address else f"{host}: {', '.join(addresses)}"
        return Report(Step.DNS, (ok(text),), {"host": host, "addresses": addresses})
    return Report(Step.DNS, (finding,), {"host": host, "addresses": []})


def _unresolved(host: str, error: socket.gaierror, *, is_proxy: bool) -> Finding:
    if error.errno == socket.EAI_AGAIN:
        return failure(
            f"{host}: the resolver failed ({error.strerror})",
            "check this machine's resolver, and the spelling of the host",
        )
    whose = "the name of the proxy" if is_proxy else "the name"
    return failure(
        f"{host}: {whose} has no address ({error.strerror})",
        "check the spelling of the host, and whether the DNS of this network knows it",
    )


def check_tcp(examination: Examination) -> Report:
    """Connect to each address in turn.

    The transport uses the first address that answers. If an earlier one does not, each request
    loses its timeout there; if a later one does not, requests fail as soon as the first one does.
    """
    _, port = examination.first_stop
    clock = examination.clock
    ends_at = clock.monotonic() + examination.timeout
    outcomes: dict[str, str | None] = {}
    findings: list[Finding] = []
    for number, address in enumerate(examination.addresses):
        left = ends_at - clock.monotonic()
        share = max(left, 0.1) / (len(examination.addresses) - number)
        began = clock.monotonic()
        problem = _connect(address, port, share)
        took = (clock.monotonic() - began) * 1000
        outcomes[address] = problem
        place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        if problem is None:
            findings.append(ok(f"{place} accepts connections ({took:.0f} ms)"))
            examination.address = examination.address or address
        else:
            findings.append(warning(f"{place}: {problem}", "check network, firewall and routes"))
    if not examination.address:
        peer = "the proxy" if examination.route.proxy else "the server"
        advice = f"check that {peer} listens on this port, and the firewalls between"
        findings = [failure(each.text, advice) for each in findings]
    measured = {"port": port, "addresses": {a: p or "connected" for a, p in outcomes.items()}}
    return Report(Step.TCP, tuple(findings), measured)


def _connect(address: str, port: int, seconds: float) -> str | None:
    """Return why a connection to *address* fails, or ``None`` if it succeeds."""
    try:
        socket.create_connection((address, port), timeout=seconds).close()
    except TimeoutError:
        return f"no answer within {seconds:.1f} s"
    except ConnectionRefusedError:
        return "the connection was refused"
    except OSError as error:
        return f"no connection ({error.strerror or type(error).__name__})"
    return None
