"""A WSGI application that calls an API for whoever asks; gunicorn loads it before it forks."""

import json

import worker


def app(environ, start_response):
    """Say what came of the call."""
    body = json.dumps(worker.call()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
