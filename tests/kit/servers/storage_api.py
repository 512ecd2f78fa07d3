"""The JSON API of Google Cloud Storage, as far as uploads and downloads need it."""

import base64
import hashlib
import itertools
import re

from kit.servers.base import Answer, LoopbackServer


class StorageApi(LoopbackServer):
    """Keeps objects in memory, for requests whose tokens are granted, unexpired and unrevoked.

    :param tokens: the authorization server whose tokens it accepts.

    :ivar accepts: whether it accepts a token.
    :ivar refused: the paths of the requests that it refused.
    :ivar revoke_at: the number of the request at which all tokens are revoked; ``None`` for never.
    """

    def __init__(self, tokens):
        self.tokens = tokens
        self.accepts = tokens.is_alive
        self.refused = []
        self.revoke_at = None
        self.objects = {}
        self._numbers = itertools.count(1)
        super().__init__()

    @property
    def bearers(self):
        """The tokens that were sent, in order."""
        return [request.bearer for request in self.received]

    def answer(self, request):
        if next(self._numbers) == self.revoke_at:
            self.tokens.revoke_all()
        if request.bearer is None or not self.accepts(request.bearer):
            self.refused.append(request.path)
            return Answer(401, {"error": {"code": 401, "message": "Invalid Credentials"}})
        if request.path == "/upload/storage/v1/b/bucket/o":
            return self._upload(request)
        name = re.fullmatch(r"(?:/download)?/storage/v1/b/bucket/o/(\w+)", request.path)
        if name is None or name[1] not in self.objects:
            return Answer(404, {"error": {"code": 404, "message": request.path}})
        content = self.objects[name[1]]
        if ("alt", "media") in request.query:
            md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
            hashes = {"X-Goog-Hash": f"md5={md5}", "Content-Type": "application/octet-stream"}
            return Answer(200, content, hashes)
        return Answer(200, self._describe(name[1]))

    def _upload(self, request):
        """Store what a multipart upload has: a part with the name, and one with the content."""
        name = re.search(rb'"name": *"(\w+)"', request.body)[1].decode()
        content = request.body.split(b"\r\n\r\n", 2)[2].rpartition(b"\r\n--")[0]
        self.objects[name] = content
        return Answer(200, self._describe(name))

    def _describe(self, name):
        size = str(len(self.objects[name]))
        return {"kind": "storage#object", "bucket": "bucket", "name": name, "size": size}
