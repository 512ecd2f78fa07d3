"""A WSGI application that calls an API for each request; gunicorn loads it before it forks."""

import json

import worker


def app(environ, start_response):
    """Answer with the result of the call."""
    body = json.dumps(worker.call()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
