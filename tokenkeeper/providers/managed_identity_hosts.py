"""Where a service in Azure asks for the token of its managed identity: the environment says.

Each host has an endpoint of its own, with its own version, header and names for an identity that
the user assigned. The order is that of azure-identity.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["IdentityHost", "identity_host"]

ARC_AGENT = "/opt/azcmagent/bin/himds"
"""The agent of Azure Arc on Linux. It is there even where no variable names its endpoint."""

_ARC_URL = "http://localhost:40342/metadata/identity/oauth2/token"
_IMDS_ORIGIN = "http://169.254.169.254"
_METADATA = {"Metadata": "true"}

Kind = Literal["app_service", "arc", "cloud_shell", "imds", "machine_learning", "service_fabric"]


@dataclass(frozen=True, slots=True)
class IdentityHost:
    """The endpoint of one host. Immutable.

    :ivar kind: which host it is.
    :ivar title: its name in messages.
    :ivar api_version: the version of its protocol; "" if it has none.
    :ivar id_names: the names of its parameters for ``client_id``, ``object_id`` and
        ``resource_id``; it has no choice of identities without one.
    :ivar secret: proves that this process may ask; "" if nothing does.
    :ivar thumbprint: of the certificate of the endpoint; "" for plain http.
    """

    kind: Kind
    title: str
    url: str
    api_version: str
    id_names: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: str = field(default="", repr=False)
    thumbprint: str = ""


def identity_host(environment: Mapping[str, str]) -> IdentityHost:
    """Return the host that *environment* describes; a virtual machine if it describes none."""
    endpoint, header = environment.get("IDENTITY_ENDPOINT"), environment.get("IDENTITY_HEADER")
    thumbprint = environment.get("IDENTITY_SERVER_THUMBPRINT")
    if endpoint and header and thumbprint:
        return IdentityHost(
            "service_fabric",
            "Service Fabric",
            endpoint,
            "2019-07-01-preview",
            headers={"Secret": header},
            secret=header,
            thumbprint=thumbprint,
        )
    if endpoint and header:
        return IdentityHost(
            "app_service",
            "App Service",
            endpoint,
            "2019-08-01",
            _id_names("mi_res_id"),
            {"X-IDENTITY-HEADER": header, **_METADATA},
            header,
        )
    msi_endpoint, msi_secret = environment.get("MSI_ENDPOINT"), environment.get("MSI_SECRET")
    if msi_endpoint and msi_secret:
        return IdentityHost(
            "machine_learning",
            "Azure Machine Learning",
            msi_endpoint,
            "2017-09-01",
            {**_id_names("msi_res_id"), "client_id": "clientid"},
            {"secret": msi_secret},
            msi_secret,
        )
    has_arc_url = endpoint and environment.get("IMDS_ENDPOINT")
    if has_arc_url or os.path.exists(ARC_AGENT):
        url = (endpoint if has_arc_url else None) or _ARC_URL
        return IdentityHost(
            "arc", "Azure Arc", url, "2020-06-01", _id_names("msi_res_id"), _METADATA
        )
    if msi_endpoint:
        return IdentityHost("cloud_shell", "Cloud Shell", msi_endpoint, "", headers=_METADATA)
    origin = environment.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or _IMDS_ORIGIN
    url = f"{origin.strip().rstrip('/')}/metadata/identity/oauth2/token"
    return IdentityHost(
        "imds",
        "the instance metadata service",
        url,
        "2018-02-01",
        _id_names("msi_res_id"),
        _METADATA,
    )


def _id_names(resource_id: str) -> dict[str, str]:
    return {"client_id": "client_id", "object_id": "object_id", "resource_id": resource_id}
