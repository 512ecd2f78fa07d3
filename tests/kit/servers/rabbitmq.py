"""RabbitMQ with its OAuth 2 plugin, over AMQP and MQTT: it verifies JWTs that share a secret.

A token is the password. RabbitMQ asks no one about it, so a revoked token works until it expires.
"""

import base64
import os
import ssl
from contextlib import contextmanager

import trustme

from kit.programs import Program, free_port, program
from tokenkeeper.testing import JWTAccessTokens, LoopbackAuthorizationServer

SECRET = b"a secret that RabbitMQ shares with us"
AUDIENCE = "rabbitmq"
SCOPES = [f"{AUDIENCE}.{what}:*/*/*" for what in ("configure", "read", "write")]

BIN = "/usr/lib/rabbitmq/bin"  # the commands in /usr/sbin need Debian's user and folders

CONFIGURATION = """\
[{{rabbit, [
   {{auth_backends, [rabbit_auth_backend_oauth2]}},
   {{tcp_listeners, [{{"127.0.0.1", {amqp}}}]}},
   {{ssl_listeners, [{{"127.0.0.1", {amqps}}}]}},
   {{ssl_options, [
     {{certfile, "{folder}/certificate.pem"}}, {{keyfile, "{folder}/key.pem"}}]}},
   {{vm_memory_high_watermark, {{absolute, 1073741824}}}},
   {{disk_free_limit, 1000000}}]}},
 {{rabbitmq_mqtt, [
   {{tcp_listeners, [{{"127.0.0.1", {mqtt}}}]}},
   {{allow_anonymous, false}}]}},
 {{rabbitmq_auth_backend_oauth2, [
   {{resource_server_id, <<"{audience}">>}},
   {{key_config, [
     {{default_key, <<"k1">>}},
     {{signing_keys, #{{<<"k1">> => {{map, #{{
       <<"kty">> => <<"oct">>, <<"alg">> => <<"HS256">>, <<"k">> => <<"{k}">>,
       <<"value">> => <<"{secret}">>}}}}}}}}]}}]}}].
"""


def token_server(**options):
    """Return an authorization server whose tokens RabbitMQ accepts."""
    tokens = JWTAccessTokens(audience=AUDIENCE, secret=SECRET)
    return LoopbackAuthorizationServer(jwt=tokens, scopes=SCOPES, **options)


class RabbitMQ(Program):
    """A running node.

    :ivar port: the port for AMQP.
    :ivar tls_port: the port for AMQP by TLS.
    :ivar mqtt_port: the port for MQTT.
    :ivar context: the TLS context of clients that trust its certificate.
    """

    @property
    def url(self):
        """The URL for AMQP, without a user."""
        return f"amqp://127.0.0.1:{self.port}/"


@contextmanager
def running(folder):
    """Run a node with its files in *folder*. Everything listens on loopback only."""
    command = program("rabbitmq-server", BIN, package="rabbitmq-server")
    amqp, amqps, mqtt, distribution, epmd = (free_port() for _ in range(5))
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    secret = SECRET.decode()
    encoded = base64.urlsafe_b64encode(SECRET).rstrip(b"=").decode()
    places = {"amqp": amqp, "amqps": amqps, "mqtt": mqtt, "folder": folder}
    text = CONFIGURATION.format(**places, audience=AUDIENCE, k=encoded, secret=secret)
    (folder / "advanced.config").write_text(text)
    (folder / "enabled_plugins").write_text("[rabbitmq_auth_backend_oauth2, rabbitmq_mqtt].\n")
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": folder,
        "LANG": "C.UTF-8",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": epmd,
        "RABBITMQ_NODENAME": "rabbit@localhost",
        "RABBITMQ_NODE_PORT": amqp,
        "RABBITMQ_DIST_PORT": distribution,
        "RABBITMQ_MNESIA_BASE": folder / "mnesia",
        "RABBITMQ_LOG_BASE": folder / "log",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": folder / "none",
        "RABBITMQ_CONF_ENV_FILE": folder / "none",
        "RABBITMQ_ADVANCED_CONFIG_FILE": folder / "advanced.config",
        "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "enabled_plugins",
        # Two schedulers suffice, and do not spin while they are idle.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none "
        "-kernel inet_dist_use_interface {127,0,0,1}",
    }
    environment = {name: str(value) for name, value in environment.items()}
    daemon = program("epmd", package="erlang-base")
    with (
        Program(daemon, "-port", epmd, "-address", "127.0.0.1", port=epmd, folder=folder),
        RabbitMQ(command, port=mqtt, folder=folder, env=environment) as node,
    ):
        node.port, node.tls_port, node.mqtt_port = amqp, amqps, mqtt
        node.context = ssl.create_default_context()
        authority.configure_trust(node.context)
        yield node
