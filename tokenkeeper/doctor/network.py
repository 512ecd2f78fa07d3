"""The way to the server: proxy, DNS and TCP."""

from __future__ import annotations

import socket
from importlib.util import find_spec

from urllib3.util.connection import allowed_gai_family

from tokenkeeper.doctor.examination import Visit
from tokenkeeper.doctor.findings import Finding, Report, Step, failure, note, ok, warning
from tokenkeeper.doctor.route import find_route
from tokenkeeper.doctor.time_limit import within

__all__ = ["look_at_dns", "look_at_proxy", "look_at_tcp"]


def look_at_proxy(visit: Visit) -> Report:
    """Tell which proxy requests takes for this provider's URL, if any."""
    try:
        visit.route = route = find_route(visit.subject.requested_url, visit.subject.verify)
    except ValueError as unreadable:
        finding = failure(
            f"{unreadable} can't be read as the URL of a proxy",
            "write it as http://host:port",
        )
        return Report(Step.PROXY, (finding,))
    facts = {"proxy": route.proxy, "named_by": route.named_by}
    if (route.proxy or "").startswith("socks") and find_spec("socks") is None:
        finding = failure(f"{route.proxy} needs PySocks", 'pip install "requests[socks]"')
        return Report(Step.PROXY, (finding,), facts)
    if route.proxy is None:
        why = f": NO_PROXY names {visit.subject.host}" if route.bypassed else ""
        return Report(Step.PROXY, (ok(f"none{why}"),), facts)
    by = f", from {route.named_by}" if route.named_by else ""
    secret = ", with credentials" if route.credentials else ""
    return Report(Step.PROXY, (note(f"{route.proxy}{by}{secret}"),), facts)


def look_at_dns(visit: Visit) -> Report:
    """Resolve the host that a connection goes to, as the transport does."""
    host, port = visit.first_stop
    whose = "the proxy's name" if visit.route.proxy else "the name"

    def resolve() -> list[str]:
        kind = socket.SOCK_STREAM
        found = socket.getaddrinfo(host, port, allowed_gai_family(), kind)
        return [str(where[0]) for *_, where in found]

    try:
        host.encode("ascii")  # requests writes a name so, or refuses it
        visit.addresses = list(dict.fromkeys(within(visit.timeout, resolve)))
    except TimeoutError:
        finding = failure(
            f"{host}: the resolver did not answer within {visit.timeout:g} s",
            "check the resolver of this machine (/etc/resolv.conf) and the way to it",
        )
    except socket.gaierror as error:
        passing = error.errno == socket.EAI_AGAIN
        problem = "the resolver failed" if passing else f"{whose} has no address"
        finding = failure(
            f"{host}: {problem} ({error.strerror})",
            "check the resolver of this machine, and the spelling of the host"
            if passing
            else "check the spelling of the host, and whether this network's DNS knows it",
        )
    except (OSError, UnicodeError):
        finding = failure(f"{host}: can't be looked up", "check the spelling of the host")
    else:
        literal = visit.addresses == [host]
        text = f"{host} is an address" if literal else f"{host}: {', '.join(visit.addresses)}"
        return Report(Step.DNS, (ok(text),), {"host": host, "addresses": visit.addresses})
    return Report(Step.DNS, (finding,), {"host": host, "addresses": []})


def look_at_tcp(visit: Visit) -> Report:
    """Connect to each address in turn.

    The transport takes the first that answers; one before it that does not costs each request its
    timeout, and one behind it will be missed on a bad day.
    """
    _, port = visit.first_stop
    ends_at = visit.clock.monotonic() + visit.timeout
    outcomes: dict[str, str | None] = {}
    findings: list[Finding] = []
    for number, address in enumerate(visit.addresses):
        left = ends_at - visit.clock.monotonic()
        share = max(left, 0.1) / (len(visit.addresses) - number)
        began = visit.clock.monotonic()
        problem = _connect(address, port, share)
        took = (visit.clock.monotonic() - began) * 1000
        outcomes[address] = problem
        place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        if problem is None:
            findings.append(ok(f"{place} accepts connections ({took:.0f} ms)"))
            visit.address = visit.address or address
        else:
            findings.append(warning(f"{place}: {problem}", "check network, firewall and routes"))
    if not visit.address:
        who = "the proxy" if visit.route.proxy else "the server"
        advice = f"check that {who} runs and listens on this port, and the firewalls between"
        findings = [failure(each.text, advice) for each in findings]
    facts = {"port": port, "addresses": {a: p or "connected" for a, p in outcomes.items()}}
    return Report(Step.TCP, tuple(findings), facts)


def _connect(address: str, port: int, seconds: float) -> str | None:
    """Return what is wrong with a connection to *address*."""
    try:
        socket.create_connection((address, port), timeout=seconds).close()
    except TimeoutError:
        return f"no answer within {seconds:.1f} s"
    except ConnectionRefusedError:
        return "the connection was refused"
    except OSError as error:
        return f"no connection ({error.strerror or type(error).__name__})"
    return None
