"""A RADIUS server (RFC 2865) on loopback that accepts the passwords a function accepts.

PostgreSQL asks it for each new connection, so a password can be an access token.
"""

import hashlib
import socket
import threading

_ACCESS_REQUEST, _ACCESS_ACCEPT, _ACCESS_REJECT = 1, 2, 3
_USER_PASSWORD = 2
_HEADER = 20
"""Code, identifier, length, and the authenticator of 16 bytes (§3)."""


class RadiusServer:
    """Answers Access-Requests with PAP passwords until it is stopped.

    :param secret: what it shares with its client.
    :ivar accepts: the function of a password that decides; may be assigned to.
    """

    def __init__(self, secret, accepts):
        self.accepts = accepts
        self._secret = secret.encode()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self):
        """Stop answering, and wait for the thread."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while True:
            packet, client = self._socket.recvfrom(4096)
            if not packet:
                return
            if packet[0] == _ACCESS_REQUEST:
                self._socket.sendto(self._answer(packet), client)

    def _answer(self, packet):
        code = _ACCESS_ACCEPT if self.accepts(self._password(packet)) else _ACCESS_REJECT
        header = bytes([code, packet[1]]) + _HEADER.to_bytes(2, "big")
        # §3: the answer is authenticated by the request's authenticator and the secret.
        return header + hashlib.md5(header + packet[4:_HEADER] + self._secret).digest()

    def _password(self, packet):
        """Return the password, which is hidden by a stream of MD5 sums (§5.2)."""
        hidden, previous, password = _attribute(packet, _USER_PASSWORD), packet[4:_HEADER], b""
        for start in range(0, len(hidden), 16):
            block = hidden[start : start + 16]
            key = hashlib.md5(self._secret + previous).digest()
            password += bytes(a ^ b for a, b in zip(block, key, strict=True))
            previous = block
        return password.rstrip(b"\0").decode()


def _attribute(packet, kind):
    position = _HEADER
    while packet[position] != kind:
        position += packet[position + 1]
    return packet[position + 2 : position + packet[position + 1]]
