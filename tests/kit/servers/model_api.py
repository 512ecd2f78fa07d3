"""The APIs of OpenAI and Anthropic, as far as their clients need them. They check the tokens."""

import itertools
import json
import re

from kit.servers.base import Answer, LoopbackServer

WORDS = ("The ", "token ", "works.")
"""The pieces of each model's answer."""

_REFUSALS = {
    "openai": {"error": {"message": "no", "type": "invalid_request_error", "code": "no"}},
    "anthropic": {"type": "error", "error": {"type": "authentication_error", "message": "no"}},
}


class ModelApi(LoopbackServer):
    """Answers each prompt with the same words, as one response or as a stream of events.

    :param tokens: the authorization server whose tokens it accepts.

    :ivar accepts: whether it accepts a token: by default if the server granted it, it has not
        expired, and it was not revoked.
    :ivar revoke_at: the number of the request at which all tokens are revoked; ``None`` for never.
    """

    def __init__(self, tokens):
        self.tokens = tokens
        self.accepts = tokens.is_alive
        self.revoke_at = None
        self._numbers = itertools.count(1)
        super().__init__()

    @property
    def url(self):
        """The base URL of OpenAI's client; that of Anthropic's is :attr:`origin`."""
        return f"{self.origin}/v1"

    @property
    def bearers(self):
        """The tokens that were sent, in order."""
        return [request.bearer for request in self.received]

    def answer(self, request):
        if next(self._numbers) == self.revoke_at:
            self.tokens.revoke_all()
        vendor = "anthropic" if request.path == "/v1/messages" else "openai"
        if request.bearer is None or not self.accepts(request.bearer):
            return Answer(401, _REFUSALS[vendor], {"WWW-Authenticate": "Bearer"})
        if request.path == "/v1/messages":
            return _message(json.loads(request.body))
        # Azure has the deployment before the same path.
        if re.fullmatch(r"/(v1|openai/deployments/[\w-]+)/chat/completions", request.path):
            return _completion(json.loads(request.body))
        return Answer(404, {"error": {"message": request.path}})


def _completion(asked):
    """Answer a request of OpenAI's chat completions."""
    base = {"id": "chatcmpl-1", "created": 1, "model": asked["model"]}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "".join(WORDS)}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
        return Answer(200, base | {"object": "chat.completion", "choices": choices, "usage": usage})
    deltas = [{"index": 0, "delta": {"content": word}, "finish_reason": None} for word in WORDS]
    deltas.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunk = base | {"object": "chat.completion.chunk"}
    events = [f"data: {json.dumps(chunk | {'choices': [delta]})}\n\n" for delta in deltas]
    return _stream([*events, "data: [DONE]\n\n"])


def _message(asked):
    """Answer a request of Anthropic's messages."""
    usage = {"input_tokens": 1, "output_tokens": 3}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    if not asked.get("stream"):
        content = [{"type": "text", "text": "".join(WORDS)}]
        return Answer(200, message | {"content": content, "stop_reason": "end_turn"})
    deltas = [{"type": "text_delta", "text": word} for word in WORDS]
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas],
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
    ]
    return _stream([f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events])


def _stream(events):
    return Answer(200, "".join(events).encode(), {"Content-Type": "text/event-stream"})
