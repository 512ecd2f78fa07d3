"""The baseline: processes that share a token by a file, and a lock around the request."""

import fcntl
import json
import time
from datetime import UTC, datetime

from tokenkeeper import OAuth2Token


def shared_by_file(provider_class, folder):
    """Return a class of providers that ask one after the other, and take what others got."""

    class Provider(provider_class):
        def acquire_token(self):
            return self._shared(None, super().acquire_token)

        def refresh_token(self, token):
            return self._shared(token, super().acquire_token)

        def _shared(self, replaces, request):
            with (folder / "lock").open("a+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                path = folder / "token.json"
                if path.exists():
                    text, expires_at = json.loads(path.read_text())
                    is_another = replaces is None or text != replaces.access_token
                    if is_another and expires_at > time.time():
                        return OAuth2Token(text, "Bearer", datetime.fromtimestamp(expires_at, UTC))
                token = request()
                path.write_text(json.dumps([token.access_token, token.expires_at.timestamp()]))
                return token

    return Provider
