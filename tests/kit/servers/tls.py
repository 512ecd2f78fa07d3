"""TLS on loopback, with certificates of a CA that a test creates."""

import ssl


def context_of(authority, *hosts, **validity):
    """Return the TLS context of a server whose certificate *authority* issued for *hosts*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts, **validity).configure_cert(context)
    return context
