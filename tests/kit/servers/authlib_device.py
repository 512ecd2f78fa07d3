"""The device flow of Authlib's server: what Authlib leaves to applications, on a stepped clock.

Codes, their expiry and the answers to polls are Authlib's. This module keeps the codes, and is as
strict as RFC 8628 §3.5 allows: who polls too early must wait 5 s longer from then on.
"""

import threading
from dataclasses import dataclass

from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc8628 import (
    DeviceAuthorizationEndpoint,
    DeviceCodeGrant,
    DeviceCredentialMixin,
)

__all__ = ["DEVICES", "DeviceAuthorization", "DeviceGrant"]

SLOW_DOWN_SECONDS = 5.0


@dataclass
class Device(DeviceCredentialMixin):
    """A device code, and what the person decided: ``None`` as long as that is nothing."""

    devices: "Devices"
    client_id: str
    scope: str
    user_code: str
    expires_at: float
    required_seconds: float  # between polls
    last_poll: float
    slow_downs: int = 0
    decision: tuple | None = None

    def get_client_id(self):
        return self.client_id

    def get_scope(self):
        return self.scope

    def get_user_code(self):
        return self.user_code

    def is_expired(self):
        return self.devices.now >= self.expires_at

    def is_too_early(self):
        elapsed, self.last_poll = self.devices.now - self.last_poll, self.devices.now
        if elapsed >= self.required_seconds:
            return False
        self.slow_downs += 1
        stated = DeviceAuthorizationEndpoint.INTERVAL
        self.required_seconds = stated + SLOW_DOWN_SECONDS * self.slow_downs
        return True


class Devices:
    """All device codes, and the time, which passes only in :meth:`step`. Thread-safe."""

    def __init__(self):
        self.now = 0.0
        self.polls = []  # when each arrived
        self._lock = threading.Lock()  # guards the one below, and the time
        self._by_code = {}

    def step(self, seconds):
        with self._lock:
            self.now += seconds

    def add(self, client_id, scope, data):
        device = Device(
            self,
            client_id,
            scope,
            data["user_code"],
            self.now + data["expires_in"],
            data["interval"],
            self.now,
        )
        with self._lock:
            self._by_code[data["device_code"]] = device

    def find(self, device_code):
        return self._by_code.get(device_code)

    def find_by_user_code(self, user_code):
        with self._lock:
            return next(d for d in self._by_code.values() if d.user_code == user_code)

    def spend(self, device_code):
        with self._lock:
            del self._by_code[device_code]


DEVICES = Devices()


class DeviceAuthorization(DeviceAuthorizationEndpoint):
    """The device authorization endpoint."""

    EXPIRES_IN = 120

    def get_verification_uri(self):
        return "https://id.example.com/device"

    def save_device_credential(self, client_id, scope, data):
        DEVICES.add(client_id, scope, data)


class DeviceGrant(DeviceCodeGrant):
    """The polls. A code is redeemed once."""

    TOKEN_ENDPOINT_AUTH_METHODS = grants.ClientCredentialsGrant.TOKEN_ENDPOINT_AUTH_METHODS

    def query_device_credential(self, device_code):
        DEVICES.polls.append(DEVICES.now)
        return DEVICES.find(device_code)

    def query_user_grant(self, user_code):
        return DEVICES.find_by_user_code(user_code).decision

    def should_slow_down(self, credential):
        return credential.is_too_early()

    def create_token_response(self):
        answer = super().create_token_response()
        DEVICES.spend(self.request.payload.data["device_code"])
        return answer
