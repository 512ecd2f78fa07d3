"""Tokens from the tools that a developer has signed in with: az, Azure PowerShell, azd."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tokenkeeper._support.hiding import without_frames
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.time_values import as_timestamp
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.managed_identity import resource_of

__all__ = ["AZURE_CLI", "AZURE_DEVELOPER_CLI", "AZURE_POWERSHELL", "DeveloperTool", "ToolProvider"]

_PLAIN = re.compile(r"[A-Za-z0-9:/._-]+")
"""What may be part of a command, or of a script in single quotes."""

_ODD = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading something else than a token and its expiry raises."""


@dataclass(frozen=True)
class DeveloperTool:
    """A program that prints a token of the user who signed in with it.

    :ivar title: its name in messages.
    :ivar programs: the names of its program; the first that is installed is run.
    :ivar arguments: returns the program's arguments for a scope and a tenant, which may be "".
    :ivar read: returns the token, and when it expires, from what the program prints.
    :ivar sign_in: the command with which a user signs in.
    :ivar signed_out: matches what it prints if no user is signed in.
    """

    title: str
    programs: tuple[str, ...]
    arguments: Callable[[str, str], list[str]]
    read: Callable[[dict[str, Any]], tuple[str, float | None]]
    sign_in: str
    signed_out: str


class ToolProvider(BaseOAuth2Provider):
    """Gets tokens from a developer's tool. Thread-safe.

    The tool is started for each token, in a directory of the system, and found by ``PATH``.

    :param tenant_id: the tenant; by default the one that the user signed in to.
    :param process_timeout: how many seconds the tool may take; 10 by default.
    """

    takes: frozenset[str] = frozenset({"scope"})

    def __init__(
        self,
        provider_name: str,
        tool: DeveloperTool,
        scope: str,
        *,
        tenant_id: str | None = None,
        process_timeout: float = 10.0,
    ) -> None:
        super().__init__(provider_name)
        self._tool = tool
        self._scope = scope
        self._tenant = tenant_id or ""
        self._process_timeout = process_timeout

    @without_frames
    def acquire_token(self) -> OAuth2Token:
        """Run the tool once.

        :raises TokenAcquisitionError: if it is missing, no user is signed in, or it fails.
        """
        scope = self.parameters.scope or self._scope
        if not all(_PLAIN.fullmatch(each) for each in (scope, self._tenant or "-")):
            raise self._error(f"{self._tool.title} can't be asked for this scope or tenant")
        printed = self._run(self._tool.arguments(scope, self._tenant))
        if (token := self._token_in(printed, scope)) is None:
            raise self._error(f"{self._tool.title} printed no token. Run {self._tool.sign_in!r}")
        return token

    def _token_in(self, printed: str, scope: str) -> OAuth2Token | None:
        """Return the token that the tool *printed*, or ``None`` if that is not one."""
        try:
            token, expires_at = self._tool.read(json.loads(printed))
            if expires_at is None:
                return None
            return OAuth2Token(token, "Bearer", datetime.fromtimestamp(expires_at, UTC), scope)
        except _ODD:  # the text of an error may contain the token
            return None

    def _run(self, arguments: list[str]) -> str:
        """Return what the tool prints with *arguments*."""
        tool = self._tool
        program = next(filter(None, map(shutil.which, tool.programs)), None)
        if program is None:
            raise self._error(f"{tool.title} is not installed: {tool.programs[0]} is not on PATH")
        try:
            # Not in the directory of the program, which other users may be able to write to.
            done = subprocess.run(  # noqa: S603 - no shell, and only plain arguments
                [program, *arguments],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=self._process_timeout,
                cwd=os.environ.get("SYSTEMROOT", "C:\\") if sys.platform == "win32" else "/",
                check=False,
            )
        except subprocess.TimeoutExpired:
            problem = f"{tool.title} took longer than {self._process_timeout:g} s"
        except OSError as error:
            problem = f"{tool.title} can't be started: {error.strerror or type(error).__name__}"
        else:
            if done.returncode == 0:
                return done.stdout.decode(errors="replace")
            problem = _problem(tool, done.stderr.decode(errors="replace"))
        raise self._error(problem)

    def _error(self, problem: str) -> TokenAcquisitionError:
        return TokenAcquisitionError(
            f"provider {self.provider_name!r}: {problem}.",
            provider_name=self.provider_name,
            transient=False,
        )


def _problem(tool: DeveloperTool, printed: str) -> str:
    """Return why *tool* failed, from what it *printed* as an error."""
    if re.search(tool.signed_out, printed, re.I):
        return f"no user is signed in with {tool.title}. Run {tool.sign_in!r}"
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    words = sanitize(lines[0], limit=200).rstrip(".") if lines else "it says nothing"
    return f"{tool.title} failed: {words}"


def _az_arguments(scope: str, tenant: str) -> list[str]:
    own = ["account", "get-access-token", "--output", "json", "--resource", resource_of(scope)]
    return [*own, *(["--tenant", tenant] if tenant else [])]


def _az_token(printed: dict[str, Any]) -> tuple[str, float | None]:
    # Versions before 2.54 print only a date without a time zone, in local time.
    stated = printed.get("expires_on")
    if stated is not None:
        return printed["accessToken"], as_timestamp(stated)
    return printed["accessToken"], datetime.fromisoformat(printed["expiresOn"]).timestamp()


def _azd_arguments(scope: str, tenant: str) -> list[str]:
    own = ["auth", "token", "--output", "json", "--no-prompt", "--scope", scope]
    return [*own, *(["--tenant-id", tenant] if tenant else [])]


def _azd_token(printed: dict[str, Any]) -> tuple[str, float | None]:
    return printed["token"], as_timestamp(printed["expiresOn"])


_SCRIPT = """\
$ErrorActionPreference = 'Stop'
Import-Module Az.Accounts -MinimumVersion 2.2.0
$options = @{{ ResourceUrl = '{resource}'; WarningAction = 'Ignore' }}
if ('{tenant}') {{ $options.TenantId = '{tenant}' }}
$granted = Get-AzAccessToken @options
$text = $granted.Token
if ($text -is [securestring]) {{
    $text = [System.Net.NetworkCredential]::new('', $text).Password
}}
@{{ token = $text; expires_on = $granted.ExpiresOn.ToUnixTimeSeconds() }} | ConvertTo-Json -Compress
"""


def _powershell_arguments(scope: str, tenant: str) -> list[str]:
    script = _SCRIPT.format(resource=resource_of(scope), tenant=tenant)
    encoded = base64.b64encode(script.encode("utf-16-le")).decode()
    return ["-NoProfile", "-NonInteractive", "-EncodedCommand", encoded]


def _powershell_token(printed: dict[str, Any]) -> tuple[str, float | None]:
    return printed["token"], as_timestamp(printed["expires_on"])


AZURE_CLI = DeveloperTool(
    "Azure CLI", ("az",), _az_arguments, _az_token, "az login", r"az login|az account set"
)
AZURE_POWERSHELL = DeveloperTool(
    "Azure PowerShell",
    ("pwsh", "powershell"),
    _powershell_arguments,
    _powershell_token,
    "Connect-AzAccount",
    r"Connect-AzAccount",
)
AZURE_DEVELOPER_CLI = DeveloperTool(
    "Azure Developer CLI",
    ("azd",),
    _azd_arguments,
    _azd_token,
    "azd auth login",
    r"azd auth login|not logged in",
)
