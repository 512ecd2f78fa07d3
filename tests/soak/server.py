"""The authorization server and its API, as a program: ``python server.py MOODS LIFETIME``.

It prints one line of JSON when it is ready, and exits at the end of its standard input.
``GET /books`` returns what it counted.
"""

import asyncio
import json
import sys
from base64 import b64encode
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs, quote

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from soak.moods import GARBAGE, Moods
from soak.truth import Truth, boot, truth_of

CLIENT_ID, CLIENT_SECRET = "soak", "no secret: on loopback"
_PAIR = ":".join(quote(part, safe="") for part in (CLIENT_ID, CLIENT_SECRET))
_BASIC = "Basic " + b64encode(_PAIR.encode()).decode()

LATE_SECONDS = 1.2
"""A late answer arrives after the client has given up."""

LONGEST_STALL_SECONDS = 5.0
PROTECTED_SECONDS = 30.0
"""How long a token is remembered after its expiry."""


class Server:
    """Grants, fails as planned, and validates. Everything runs on one event loop."""

    def __init__(self, moods, lifetime):
        self.moods = moods
        self.lifetime = lifetime
        self.began = boot()
        self.serial = 0
        self.granted = {}  # token -> when it expires
        self.revoked = {}  # token -> when it was revoked
        self.draws = [moods.draws(site) for site in range(moods.sites)]
        self.requests = Counter()  # by provider
        self.grants = Counter()
        self.played = Counter()  # faults by name
        self.outages = {}  # an outage that a request met -> its length
        self.api = Counter()  # verdicts

    def books(self):
        """Return what happened so far, for the report."""
        lengths = Counter(self.outages.values())
        return {
            "requests": dict(self.requests),
            "grants": dict(self.grants),
            "played": dict(sorted(self.played.items())),
            "outages": dict(lengths),
            "api": dict(self.api),
        }

    async def serve(self, reader, writer):
        """Answer the requests of one connection."""
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # clients disconnect, and forked children exit during a request
        except asyncio.CancelledError:
            pass  # the server stops
        finally:
            writer.close()

    async def _exchange(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        _, path, _ = line.split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (field.partition(":") for field in fields)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if path == "/api":
            return self._send(writer, *self._validate(headers))
        if path == "/books":
            return self._send(writer, 200, self.books())
        if path == "/revoke":
            self.revoked[body.decode()] = boot()
            return self._send(writer, 200, {})
        site, provider_name = path.strip("/").split("/")
        return await self._token(int(site), provider_name, headers, body, reader, writer)

    # ---- the token endpoint

    async def _token(self, site, provider_name, headers, body, reader, writer):
        now = boot()  # a lifetime begins here, whenever the answer is sent
        self.requests[provider_name] += 1
        form = parse_qs(body.decode())
        if not _is_client(form, headers) or "grant_type" not in form:
            self.played["a request that no client may send"] += 1
            return self._send(writer, 401, {"error": "invalid_client"})
        outage = self.moods.outage_at(site, now - self.began)
        if outage is not None:
            which, length, mode = outage
            self.outages[f"{which} {length}"] = length
            self.played[f"outage, {length}: {mode}"] += 1
            return await self._be_out(mode, reader, writer)
        kind, detail = self.draws[site]()
        if kind is not None:
            self.played[f"{kind}: {detail}" if kind != "slow" else "slow"] += 1
        if kind == "5xx":
            return self._send(writer, detail, {"error": "server_error"})
        if kind == "garbage":
            return await self._send_garbage(writer, detail)
        if detail == "for good":
            return await self._stall(reader, writer)
        answer = self._grant(provider_name, now)
        if kind is not None:
            await asyncio.sleep(detail if kind == "slow" else LATE_SECONDS)
        return self._send(writer, 200, answer)

    def _grant(self, provider_name, now):
        self.serial += 1
        self.grants[provider_name] += 1
        truth = Truth(provider_name, self.serial, now, now + self.lifetime)
        self.granted[truth.as_token()] = truth.ends
        if self.serial % 1000 == 0:
            self._forget(now - PROTECTED_SECONDS)
        answer = {"access_token": truth.as_token(), "token_type": "Bearer"}
        # Some servers send a string, which means the same.
        answer["expires_in"] = self.lifetime if self.serial % 2 else str(self.lifetime)
        if provider_name.endswith("refreshed"):
            answer["refresh_token"] = f"refresh-{self.serial}"
        return answer

    def _forget(self, before):
        self.granted = {token: ends for token, ends in self.granted.items() if ends > before}
        self.revoked = {token: at for token, at in self.revoked.items() if at > before}

    async def _be_out(self, mode, reader, writer):
        if mode == "503":
            return self._send(writer, 503, {"error": "temporarily_unavailable"})
        if mode == "502 page":
            return self._send(writer, 502, "<html>Bad Gateway</html>", "text/html")
        if mode == "stall":
            return await self._stall(reader, writer)
        writer.transport.abort()
        return False

    async def _stall(self, reader, writer):
        """Send nothing until the client gives up."""
        try:
            await asyncio.wait_for(reader.read(1), LONGEST_STALL_SECONDS)
        except TimeoutError:  # a forked child may hold a copy of the connection
            writer.transport.abort()
        return False

    async def _send_garbage(self, writer, detail):
        if GARBAGE[detail] is not None:
            status, content_type, text = GARBAGE[detail]
            return self._send(writer, status, text, content_type)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + b'{"access_token": "bad~8')
        await writer.drain()
        return False

    # ---- the API

    def _validate(self, headers):
        token = headers.get("authorization", "").removeprefix("Bearer ")
        handed_out = float(headers["handed-out"])
        ends = self.granted.get(token)
        if ends is None:
            truth = truth_of(token)
            verdict = "dead" if truth and truth.ends < handed_out else "unknown"
        elif self.revoked.get(token, handed_out) < handed_out:
            verdict = "revoked"
        elif ends < handed_out:
            verdict = "dead"
        else:
            # It was valid when it was handed out. If a busy machine delayed it on its way here,
            # that is not the keeper's fault.
            verdict = "good" if boot() < ends else "ended on its way"
        self.api[verdict] += 1
        return (200 if verdict in ("good", "ended on its way") else 401), {"verdict": verdict}

    def _send(self, writer, status, content, content_type="application/json"):
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        head = f"HTTP/1.1 {status} .\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
        writer.write(f"{head}\r\n\r\n".encode() + body)
        return True


def _is_client(form, headers):
    if "authorization" in headers:
        return headers["authorization"] == _BASIC
    return form.get("client_id") == [CLIENT_ID] and form.get("client_secret") == [CLIENT_SECRET]


async def main():
    moods, lifetime = Moods(**json.loads(sys.argv[1])), float(sys.argv[2])
    server = Server(moods, lifetime)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=1024)
    host, port = listening.sockets[0].getsockname()
    about = {"issuer": f"http://{host}:{port}", "host": host, "port": port}
    sys.stdout.write(json.dumps({**about, "began": server.began}) + "\n")
    sys.stdout.flush()
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
