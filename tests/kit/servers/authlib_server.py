"""A program that serves Authlib's authorization server on Flask, with an API behind it.

Grants, client authentication, scopes, introspection, revocation and the check of a bearer token
are Authlib's. This program adds what Authlib leaves to applications: it stores clients and tokens,
drops scopes that the client may not have, and revokes the whole family of a refresh token that is
used twice. The tests control it under ``/admin``.
"""

import argparse
import io
import json
import os
import sys
import threading
import time

from authlib.integrations.flask_oauth2 import (
    AuthorizationServer,
    ResourceProtector,
    current_token,
)
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6749.util import extract_basic_authorization
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib_device import DEVICES, DeviceAuthorization, DeviceGrant
from authlib_store import Client, Store
from flask import Flask, jsonify, request
from joserfc.jwk import KeySet, import_key
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import run_wsgi_app

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # all connections are on loopback

USERS = {"alice": "alice-password"}
SCOPES = ["read", "write", "delete"]
AUTH_METHODS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]

store = Store()


class ClientCredentials(grants.ClientCredentialsGrant):
    """Client credentials, with a refresh token for clients that are registered so.

    RFC 6749 §4.4.3 advises against that, but some servers do it.
    """

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

    def generate_token(self, **options):
        options["include_refresh_token"] = self.client.refresh_tokens
        return super().generate_token(**options)


class Password(grants.ResourceOwnerPasswordCredentialsGrant):
    """The password grant, for the users above."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

    def authenticate_user(self, username, password):
        return username if USERS.get(username) == password else None

    def generate_token(self, **options):
        options["include_refresh_token"] = self.client.refresh_tokens
        return super().generate_token(**options)


class Refresh(grants.RefreshTokenGrant):
    """Refresh tokens for one use; a second use of one revokes the whole family."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        token = store.by_refresh.get(refresh_token)
        if token is None or token.refresh_revoked:
            return None
        if token.refresh_used:
            store.count(token.client.client_id, "families_revoked")
            store.revoke_family(token.family)
            return None
        return token

    def authenticate_user(self, refresh_token):
        client = refresh_token.client
        return refresh_token.user or (client.client_id if client.has_user else None)

    def revoke_old_credential(self, refresh_token):
        refresh_token.refresh_used = True


class JwtBearer(JWTBearerGrant):
    """JWTs that are signed with the key of a client, for one of the users (RFC 7523)."""

    def get_audiences(self):
        return [app.config["ISSUER"], app.config["ISSUER"] + "/oauth/token"]

    def resolve_issuer_client(self, issuer):
        return store.clients.get(issuer)

    def resolve_client_public_key(self, client):
        return import_key(client.public_key)

    def authenticate_user(self, subject):
        return subject if subject in USERS else None

    def has_granted_permission(self, client, user):
        return True


GRANTS = {
    grant.GRANT_TYPE: grant
    for grant in (ClientCredentials, Password, Refresh, JwtBearer, DeviceGrant)
}


class PrivateKeyJwt(JWTBearerClientAssertion):
    """Assertions by a registered key, for the audiences that the server was started with."""

    CLIENT_AUTH_METHOD = "private_key_jwt"

    def get_audiences(self):
        names = {"issuer": request.host_url.rstrip("/"), "token_endpoint": request.base_url}
        return [names[each] for each in app.config["ASSERTION_AUDIENCES"]]

    def resolve_client_public_key(self, client):
        return KeySet.import_key_set(client.jwks)

    def validate_jti(self, claims, jti):
        used = (claims["sub"], jti)
        with store.lock:
            is_new = used not in store.used_assertions
            store.used_assertions.add(used)
        return is_new


class Introspection(IntrospectionEndpoint):
    """Introspection (RFC 7662), for the client that owns the token."""

    CLIENT_AUTH_METHODS = AUTH_METHODS

    def check_permission(self, token, client, request):
        return token.check_client(client)

    def query_token(self, token_string, token_type_hint):
        return store.find(token_string)

    def introspect_token(self, token):
        return {
            "client_id": token.client.client_id,
            "token_type": token.token_type,
            "scope": token.scope,
            "exp": int(token.issued_at + token.expires_in),
            "iat": int(token.issued_at),
        }


class Revocation(RevocationEndpoint):
    """Revocation (RFC 7009); revoking a refresh token also revokes its access token."""

    CLIENT_AUTH_METHODS = AUTH_METHODS

    def query_token(self, token_string, token_type_hint):
        return store.find(token_string)

    def revoke_token(self, token, request):
        token.revoked = True
        if request.form["token"] == token.refresh_token:
            token.refresh_revoked = True


class Validator(BearerTokenValidator):
    """Looks up the token; Authlib does the rest."""

    def authenticate_token(self, token_string):
        return store.by_access.get(token_string)


app = Flask("authlib_server")
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
app.config["OAUTH2_SCOPES_SUPPORTED"] = SCOPES


class Server(AuthorizationServer):
    """Authlib's server, with lifetimes of tokens by client."""

    def create_bearer_token_generator(self, config):
        generator = super().create_bearer_token_generator(config)
        generator.expires_generator = lambda client, grant_type: client.lifetime_seconds
        return generator


server = Server(app, query_client=store.clients.get, save_token=store.save)
server.register_client_auth_method(PrivateKeyJwt.CLIENT_AUTH_METHOD, PrivateKeyJwt())
server.register_endpoint(Introspection)
server.register_endpoint(Revocation)
server.register_endpoint(DeviceAuthorization)
require_oauth = ResourceProtector()
require_oauth.register_token_validator(Validator())


@app.post("/oauth/token")
def token():
    # The client is not authenticated yet; Authlib does that below.
    client_id = extract_basic_authorization(request.headers)[0] or request.form.get("client_id")
    client = store.clients.get(client_id)
    store.begin(client_id)
    try:
        if client is not None:
            time.sleep(client.delay_seconds)
        with store.lock:  # so that two requests can't use one refresh token
            return server.create_token_response()
    finally:
        store.end(client_id)


@app.post("/oauth/introspect")
def introspect():
    with store.lock:
        return server.create_endpoint_response(Introspection.ENDPOINT_NAME)


@app.post("/oauth/revoke")
def revoke():
    with store.lock:
        return server.create_endpoint_response(Revocation.ENDPOINT_NAME)


@app.post("/oauth/device")
def device():
    with store.lock:
        return server.create_endpoint_response(DeviceAuthorization.ENDPOINT_NAME)


@app.get("/.well-known/oauth-authorization-server")
def metadata():
    """Return the server's metadata, which Authlib checks against RFC 8414."""
    issuer = request.host_url.rstrip("/")
    document = AuthorizationServerMetadata(
        issuer=issuer,
        token_endpoint=f"{issuer}/oauth/token",
        introspection_endpoint=f"{issuer}/oauth/introspect",
        revocation_endpoint=f"{issuer}/oauth/revoke",
        token_endpoint_auth_methods_supported=AUTH_METHODS,
        grant_types_supported=["client_credentials", "password", "refresh_token"],
        scopes_supported=SCOPES,
    )
    for name in document:
        getattr(document, f"validate_{name}")()
    return jsonify(document)


@app.get("/resource")
@require_oauth()
def resource():
    return jsonify(
        client_id=current_token.client.client_id,
        scope=current_token.scope,
        grant_type=current_token.grant_type,
        user=current_token.user,
    )


@app.after_request
def note(answer):
    if request.path == "/resource":
        known = store.by_access.get(request.headers.get("Authorization", "").partition(" ")[2])
        what = "resource_calls" if answer.status_code == 200 else "resource_refusals"
        store.count(known.client.client_id if known else None, what)
    return answer


@app.post("/admin/clients")
def add_client():
    client = Client(**{"lifetime_seconds": app.config["LIFETIME"], **request.get_json()})
    with store.lock:
        store.clients[client.client_id] = client
    return jsonify(client_id=client.client_id)


@app.post("/admin/revoke")
def revoke_all():
    """Revoke all access tokens of a client or, on request, all its refresh tokens."""
    asked = request.get_json()
    with store.lock:
        for granted in store.tokens:
            if granted.client.client_id == asked["client_id"]:
                if asked.get("refresh_tokens"):
                    granted.refresh_revoked = True
                else:
                    granted.revoked = True
    return jsonify({})


@app.post("/admin/devices")
def decide():
    """Approve or deny what a user code stands for, or require longer pauses between polls."""
    asked = request.get_json()
    device = DEVICES.find_by_user_code(asked["user_code"])
    if "approved" in asked:
        device.decision = (next(iter(USERS)), asked["approved"])
    device.required_seconds = asked.get("required_seconds", device.required_seconds)
    return jsonify({})


@app.post("/admin/clock")
def step():
    """Let time pass for device codes."""
    DEVICES.step(request.get_json()["seconds"])
    return jsonify(polls=DEVICES.polls)


@app.get("/admin/stats")
def stats():
    with store.lock:
        return jsonify({str(client_id): counts for client_id, counts in store.stats.items()})


class KeepAliveHandler(WSGIRequestHandler):
    """Keeps connections open, as servers in production do; werkzeug's handler does not."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def run_wsgi(self):
        environ = self.make_environ()
        # The whole body, because the next request begins behind it.
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environ["wsgi.input"] = io.BytesIO(sent)
        chunks, status, headers = run_wsgi_app(self.server.app, environ, buffered=True)
        code, _, phrase = status.partition(" ")
        self.send_response(int(code), phrase)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"".join(chunks))

    def log(self, *arguments):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lifetime", type=float, default=3600, metavar="SECONDS")
    parser.add_argument("--port", type=int, default=0, help="a fixed port, for a restart")
    parser.add_argument("--without", action="append", default=[], choices=list(GRANTS))
    parser.add_argument(
        "--audience", action="append", choices=["issuer", "token_endpoint"], help="of assertions"
    )
    options = parser.parse_args()
    app.config["LIFETIME"] = options.lifetime
    app.config["ASSERTION_AUDIENCES"] = options.audience or ["issuer", "token_endpoint"]
    store.clients["worker"] = Client("worker", "worker-secret", lifetime_seconds=options.lifetime)
    for grant_type in GRANTS.keys() - set(options.without):
        server.register_grant(GRANTS[grant_type])
    http = make_server(
        "127.0.0.1", options.port, app, threaded=True, request_handler=KeepAliveHandler
    )
    issuer = app.config["ISSUER"] = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    about = {"issuer": issuer, "token_endpoint": issuer + "/oauth/token"}
    print(json.dumps(about), flush=True)  # noqa: T201 - for the program that started this one
    sys.stdin.read()


if __name__ == "__main__":
    main()
