"""How a client of a configuration proves who it is, and what it presents: on the wire."""

import json
import os
import threading
import warnings
from urllib.parse import parse_qs

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from kit import internals
from kit.servers.exchange import KEY, TokenService, token_of
from kit.servers.issuer import IssuerServer
from kit.servers.mutual_tls import MutualTlsServer
from kit.servers.recording import Recording
from kit.servers.tls import ClientFiles, self_signed

from tokenkeeper import ConfigurationWarning, TokenAcquisitionError, TokenKeeper
from tokenkeeper.config import credentials
from tokenkeeper.config.discovery import Discovery
from tokenkeeper.config.files import is_read_only

UNVERIFIED = {"verify_signature": False}


def pem(key, password=None):
    """Return a private key in PEM, encrypted if there is a password."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


@pytest.fixture
def key(write):
    """Write a private key, and return it."""
    key = ec.generate_private_key(ec.SECP256R1())
    write(pem(key), name="key.pem")
    return key


@pytest.fixture
def server():
    """Return a token endpoint that grants everything."""
    with Recording() as server:
        yield server


@pytest.fixture
def service():
    """Return a token service that exchanges its own tokens."""
    with TokenService() as service:
        yield service


def block(server, **settings):
    """Return a block for a client of *server*."""
    url = f"{server.origin}/token"
    required = {"provider_name": "api", "provider_type": "generic", "client_id": "worker"}
    return {**required, "token_url": url, **settings}


def configured(write, *blocks, **options):
    """Return a keeper for a file with *blocks*, which JSON can hold."""
    path = write(json.dumps({"oauth2": list(blocks)}))
    return TokenKeeper.from_config(path, background=False, cooldown_seconds=0, **options)


def last_form(server):
    """Return the parameters of the last request."""
    return {key: each[0] for key, each in parse_qs(server.received[-1].body.decode()).items()}


def assertion_in(server):
    """Return header and claims of the client assertion in the last request."""
    sent = last_form(server)["client_assertion"]
    return jwt.get_unverified_header(sent), jwt.decode(sent, options=UNVERIFIED)


class TestClientAuthentication:
    """Each method sends its own proof, and no secret beside it."""

    def test_private_key_jwt(self, write, server, key):
        """A key file signs an assertion for the token endpoint, or for the audience that is set."""
        with configured(write, block(server, private_key_file="key.pem", key_id="k1")) as keeper:
            keeper.get_token("api")
        header, claims = assertion_in(server)
        assert (header["alg"], header["kid"]) == ("ES256", "k1")
        assert (claims["iss"], claims["sub"], claims["aud"]) == (
            "worker",
            "worker",
            server.token_url,
        )
        assert "client_secret" not in last_form(server)
        audience = {"client_assertion_audience": "https://id.example.com"}
        with configured(write, block(server, private_key_file="key.pem", **audience)) as keeper:
            keeper.get_token("api")
        assert assertion_in(server)[1]["aud"] in (
            "https://id.example.com",
            ["https://id.example.com"],
        )

    @pytest.mark.parametrize(
        "password", [{"private_key_password": "open"}, {"private_key_password_file": "password"}]
    )
    def test_an_encrypted_key(self, write, server, environment, password):
        """The password of a key is in the configuration, or in a file."""
        write(pem(ec.generate_private_key(ec.SECP256R1()), "open"), name="key.pem")
        write("open\n", name="password")
        settings = {"private_key_file": "key.pem", **password}
        if "private_key_password" in password:
            environment.setenv("KEY_PASSWORD", "open")
            settings["private_key_password"] = "${KEY_PASSWORD}"
        with configured(write, block(server, **settings)) as keeper:
            keeper.get_token("api")
        assert assertion_in(server)[0]["alg"] == "ES256"

    def test_client_secret_jwt(self, write, server, environment):
        """The secret signs an assertion, and is not sent."""
        environment.setenv("SECRET", "s" * 64)
        settings = {
            "client_secret": "${SECRET}",
            "token_endpoint_auth_method": "client_secret_jwt",
            "signing_alg": "HS512",
        }
        with configured(write, block(server, **settings)) as keeper:
            keeper.get_token("api")
        assert assertion_in(server)[0]["alg"] == "HS512"
        assert "s" * 64 not in server.received[-1].body.decode()

    def test_a_client_assertion(self, write, server):
        """The assertion is read for each request, so a replaced one is used at once."""
        write("the-first", name="assertion")
        with configured(write, block(server, client_assertion_file="assertion")) as keeper:
            keeper.get_token("api")
            assert last_form(server)["client_assertion"] == "the-first"
            write("the-second", name="assertion")
            assert keeper.reload() == {"added": [], "changed": [], "removed": []}
            keeper.get_token("api", force_refresh=True)
        assert last_form(server)["client_assertion"] == "the-second"

    def test_a_certificate(self, write, tmp_path):
        """The connection presents the certificate, and a replaced one as soon as it is there."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        files = ClientFiles(authority, tmp_path)
        files.key.chmod(0o600)
        with MutualTlsServer(authority) as server:
            settings = {
                "token_endpoint_auth_method": "tls_client_auth",
                "certificate_file": files.certificate.name,
                "certificate_key_file": files.key.name,
                "verify": "ca.pem",
            }
            with configured(write, block(server, **settings)) as keeper:
                keeper.get_token("api")
                files.replace()
                assert keeper.reload()["changed"] == []
                keeper.get_token("api", force_refresh=True)
        assert server.granted == [("worker", each) for each in files.seen]

    def test_a_rotated_key(self, write, server, key):
        """A replaced key is used from the next request on, without a reload or a new provider."""
        with configured(write, block(server, private_key_file="key.pem")) as keeper:
            keeper.get_token("api")
            provider, old = internals.provider(keeper, "api").provider, key.public_key()
            jwt.decode(
                last_form(server)["client_assertion"], old, ["ES256"], audience=server.token_url
            )
            new = ec.generate_private_key(ec.SECP256R1())
            write(pem(new), name="key.pem")
            keeper.get_token("api", force_refresh=True)
            assert internals.provider(keeper, "api").provider is provider
        sent = last_form(server)["client_assertion"]
        assert jwt.decode(sent, new.public_key(), ["ES256"], audience=server.token_url)

    def test_an_issuer(self, write, key):
        """The endpoint comes from the metadata of the issuer, which is also the audience."""
        with IssuerServer() as server:
            issuer = server.publish("/tenant")
            settings = block(server, private_key_file="key.pem", issuer=issuer)
            del settings["token_url"]
            with configured(write, settings) as keeper:
                keeper.get_token("api")
            assert assertion_in(server)[1]["aud"] == issuer
            assert server.token_requests == ["/token"]


class TestGrants:
    """Each grant presents what its block names, read for each request."""

    def test_a_subject_in_a_file(self, write, service):
        """The subject and the actor are read from files, and sent with their types."""
        write(token_of("ann"), name="subject")
        write(token_of("robot"), name="actor")
        settings = {
            "token_endpoint_auth_method": "none",
            "grant": "token_exchange",
            "subject_token": {"file": "subject"},
            "subject_token_type": "jwt",
            "actor_token": {"file": "actor"},
            "audience": "orders",
            "resource": "https://orders.example.com",
        }
        with configured(write, block(service, **settings)) as keeper:
            token = keeper.get_token("api")
        claims = jwt.decode(token, KEY, ["HS256"], options={"verify_aud": False})
        assert (claims["sub"], claims["act"]) == ("ann", {"sub": "robot"})
        assert claims["aud"] == ["orders", "https://orders.example.com"]
        assert last_form(service)["subject_token_type"].endswith(":jwt")

    def test_a_subject_in_a_variable(self, write, service, environment):
        """The variable is read when the token is requested, and named if it is not set."""
        settings = {
            "token_endpoint_auth_method": "none",
            "grant": "token_exchange",
            "subject_token": {"env": "SUBJECT_TOKEN"},
        }
        environment.delenv("SUBJECT_TOKEN", raising=False)
        with configured(write, block(service, **settings)) as keeper:
            with pytest.raises(TokenAcquisitionError, match="SUBJECT_TOKEN is not set"):
                keeper.get_token("api")
            environment.setenv("SUBJECT_TOKEN", token_of("ann"))
            token = keeper.get_token("api")
        assert jwt.decode(token, options=UNVERIFIED)["sub"] == "ann"

    def test_a_subject_of_github(self, write, service, environment):
        """GitHub is asked for its token when the token is requested, in a job only."""
        environment.delenv("ACTIONS_ID_TOKEN_REQUEST_URL", raising=False)
        settings = {
            "token_endpoint_auth_method": "none",
            "grant": "token_exchange",
            "subject_token": {"github": "https://id.example.com"},
        }
        with (
            configured(write, block(service, **settings)) as keeper,
            pytest.raises(TokenAcquisitionError, match="ACTIONS_ID_TOKEN_REQUEST_URL is not set"),
        ):
            keeper.get_token("api")

    @pytest.mark.parametrize("name", ["zzz", "aaa"])
    def test_the_token_of_another_provider(self, write, service, name):
        """The token of another provider of the keeper is exchanged, whichever comes first."""
        public = {"token_endpoint_auth_method": "none"}
        first = block(service, provider_name="login", **public)
        second = block(
            service,
            provider_name=name,
            grant="token_exchange",
            subject_token={"provider": "login", "scope": "read"},
            **public,
        )
        with configured(write, *sorted([first, second], key=str)) as keeper:
            token = keeper.get_token(name)
            keeper.get_token(name, force_refresh=True)
            assert jwt.decode(token, options=UNVERIFIED)["sub"] == "client"
            reloaded = keeper.reload()
            keeper.get_token(name, force_refresh=True)
        assert reloaded["changed"] == []
        forms = service.forms("client_credentials")
        assert [form["scope"] for form in forms] == [["read"]]

    def test_a_signed_assertion(self, write, server, key):
        """The JWT bearer grant presents an assertion that the block describes."""
        settings = {
            "token_endpoint_auth_method": "none",
            "grant": "jwt_bearer",
            "assertion": {
                "private_key_file": "key.pem",
                "issuer": "service@example.com",
                "subject": "ann@example.com",
                "audience": "https://id.example.com",
                "lifetime_seconds": 120,
                "claims": {"scope": "read"},
            },
        }
        with configured(write, block(server, **settings)) as keeper:
            keeper.get_token("api")
        sent = last_form(server)["assertion"]
        claims = jwt.decode(sent, key.public_key(), ["ES256"], audience="https://id.example.com")
        assert (claims["iss"], claims["sub"]) == ("service@example.com", "ann@example.com")
        assert claims["exp"] - claims["iat"] == 120
        assert claims["scope"] == "read"

    def test_an_assertion_in_a_file(self, write, service):
        """The assertion may also come from a file."""
        write(token_of("ann"), name="assertion")
        settings = {
            "token_endpoint_auth_method": "none",
            "grant": "jwt_bearer",
            "assertion": {"file": "assertion"},
        }
        with configured(write, block(service, **settings)) as keeper:
            assert jwt.decode(keeper.get_token("api"), options=UNVERIFIED)["sub"] == "ann"

    def test_a_password(self, write, server):
        """Name and password are sent; the password comes from a file."""
        write("pässword\n", name="password")
        settings = {
            "token_endpoint_auth_method": "none",
            "grant": "password",
            "username": "ann",
            "password_file": "password",
        }
        with configured(write, block(server, **settings)) as keeper:
            keeper.get_token("api")
        form = last_form(server)
        assert (form["grant_type"], form["username"]) == ("password", "ann")
        assert form["password"] == "pässword"

    def test_a_refresh_token(self, write, server, environment):
        """``grant: refresh_token`` is the grant type of that name."""
        environment.setenv("FIRST", "the-first")
        settings = {
            "token_endpoint_auth_method": "none",
            "grant": "refresh_token",
            "additional_params": {"refresh_token": "${FIRST}"},
        }
        with configured(write, block(server, **settings)) as keeper:
            keeper.get_token("api")
        assert last_form(server)["refresh_token"] == "the-first"

    def test_a_refresh_token_in_a_file(self, write, server):
        """The first refresh token is read from a file, and a source may narrow the scope."""
        write("the-first", name="first")
        settings = {
            "token_endpoint_auth_method": "none",
            "grant": "refresh_token",
            "refresh_token_file": "first",
            "scope_by_refresh": True,
        }
        with configured(write, block(server, **settings)) as keeper:
            keeper.source("api", scope="read")()
        form = last_form(server)
        assert (form["refresh_token"], form["scope"]) == ("the-first", "read")

    def test_custody(self, write, server, tmp_path):
        """A provider may keep its refresh token in a store of its own."""
        write("the-first", name="first")
        url = f"sqlite:///{tmp_path / 'private' / 'custody.db'}"
        settings = {
            "token_endpoint_auth_method": "none",
            "grant": "refresh_token",
            "refresh_token_file": "first",
            "custody": url,
        }
        with configured(write, block(server, **settings)) as keeper:
            keeper.get_token("api")
        assert (tmp_path / "private" / "custody.db").exists()


class TestEntra:
    """The credentials of an application in Entra ID, and a managed identity."""

    def describe(self, **settings):
        """Return what the provider of a block describes."""
        block = {
            "provider_name": "api",
            "provider_type": "azure",
            "client_id": "worker",
            "tenant_id": "contoso.example",
            **settings,
        }
        block = {key: value for key, value in block.items() if value is not None}
        (spec,) = Discovery.from_config({"oauth2": block}).specs().values()
        return spec.make_provider().describe()

    @pytest.mark.parametrize("password", [None, "open"])
    def test_a_certificate(self, write, password):
        """A certificate file has the key as well, perhaps with a password."""
        key = rsa.generate_private_key(65537, 2048)
        file = write(pem(key, password) + self_signed(key).decode(), name="app.pem")
        described = self.describe(
            certificate_file=str(file), certificate_password=password, send_x5c=True
        )
        assert described["token_endpoint_auth_method"] == "private_key_jwt"
        assert described["certificate_file"] == str(file)

    def test_a_federated_token(self, tmp_path):
        """A federated token need not be there yet: its platform writes the file."""
        described = self.describe(
            federated_token_file=str(tmp_path / "later"),
            region="westeurope",
            client_capabilities=["CP1"],
            allowed_tenants="*",
        )
        assert described["federated_token_file"] == str(tmp_path / "later")

    @pytest.mark.parametrize(
        ("value", "shown"), [(True, "this host's"), ("an-id", "an-id"), ("/subs/x", "/subs/x")]
    )
    def test_a_managed_identity(self, value, shown):
        """``true`` is the host's own identity; a text is the id of another one."""
        described = self.describe(
            client_id=None, tenant_id=None, managed_identity=value, scope="https://a.example"
        )
        assert described["type"].endswith(":ManagedIdentityProvider")
        assert described["client_id"] == shown


def test_a_dpop_key(write, server, key):
    """``dpop`` is on, or names a key; a changed key makes another provider at a reload."""
    from tokenkeeper.oauth import dpop

    public = {"token_endpoint_auth_method": "none"}
    (spec,) = Discovery.from_config({"oauth2": block(server, dpop=True, **public)}).specs().values()
    assert spec.make_provider().describe()["dpop"] is True
    with configured(write, block(server, dpop="key.pem", **public)) as keeper:
        before = internals.provider(keeper, "api").provider
        assert before._binding.key.thumbprint
        assert keeper.reload()["changed"] == []
        write(pem(ec.generate_private_key(ec.SECP256R1())), name="key.pem")
        assert keeper.reload()["changed"] == ["api"]
        after = internals.provider(keeper, "api").provider
    assert isinstance(after._binding.key, dpop.DPoPKey)
    assert after._binding.key.thumbprint != before._binding.key.thumbprint


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"private_key_file": "key.pem"}, "key.pem"),
        ({"client_assertion_file": "token"}, "token"),
        (
            {
                "token_endpoint_auth_method": "none",
                "grant": "token_exchange",
                "subject_token": {"file": "token"},
            },
            "token",
        ),
        (
            {
                "token_endpoint_auth_method": "none",
                "grant": "jwt_bearer",
                "assertion": {"private_key_file": "key.pem", "issuer": "me"},
            },
            "key.pem",
        ),
        (
            {
                "token_endpoint_auth_method": "none",
                "grant": "password",
                "username": "ann",
                "password_file": "token",
            },
            "token",
        ),
    ],
)
def test_files_that_every_user_can_read(open_directory, settings, name):
    """A file with a key, an assertion or a password that every user can read is a warning."""
    (open_directory / "key.pem").write_text(pem(ec.generate_private_key(ec.SECP256R1())))
    (open_directory / "token").write_text("a-token")
    for each in ("key.pem", "token"):
        (open_directory / each).chmod(0o644)
    settings = {
        key: {k: str(open_directory / v) if "file" in k else v for k, v in value.items()}
        if isinstance(value, dict)
        else str(open_directory / value)
        if key.endswith("_file")
        else value
        for key, value in settings.items()
    }
    block = {
        "provider_name": "api",
        "provider_type": "generic",
        "client_id": "worker",
        "token_url": "https://id.example.com/token",
    }
    with pytest.warns(ConfigurationWarning, match=f"{name} contains a secret and is readable"):
        TokenKeeper.from_config({"oauth2": block | settings}).close()


PIPES = {
    "a private key": {"private_key_file": "pipe"},
    "a client certificate": {
        "token_endpoint_auth_method": "tls_client_auth",
        "certificate_file": "pipe",
    },
    "a client assertion": {"client_assertion_file": "pipe"},
    "a key for DPoP": {"token_endpoint_auth_method": "none", "dpop": "pipe"},
    "CA certificates": {"token_endpoint_auth_method": "none", "verify": "pipe"},
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("settings", PIPES.values(), ids=PIPES)
def test_a_pipe_in_place_of_a_file(tmp_path, write, settings):
    """A pipe is refused at once wherever a file is named, without waiting for its writer."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    entry = {"provider_name": "api", "provider_type": "generic", "client_id": "worker"}
    path = write(json.dumps({"oauth2": {**entry, "token_url": "https://x.test/t", **settings}}))
    found = []
    reader = threading.Thread(
        target=lambda: found.extend(Discovery.from_config(path).find()), daemon=True
    )
    reader.start()
    reader.join(30)
    ((problem,),) = [each.problems for each in found]
    key = next(key for key, value in settings.items() if value == "pipe")
    assert str(problem) == (
        f"tokens.yaml, line 1: oauth2.{key} can't be read: it is not a regular file"
    )


def test_a_token_that_a_platform_mounts(open_directory, monkeypatch):
    """A token on a file system that is mounted read-only, as platforms do, causes no warning."""
    (open_directory / "token").write_text("a-token")
    (open_directory / "token").chmod(0o644)
    monkeypatch.setattr(credentials, "is_read_only", lambda file: file.name == "token")
    settings = {
        "provider_name": "api",
        "provider_type": "generic",
        "client_id": "worker",
        "token_url": "https://id.example.com/token",
        "client_assertion_file": str(open_directory / "token"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TokenKeeper.from_config({"oauth2": settings}).close()
    assert not is_read_only(open_directory / "token")
    assert not is_read_only(open_directory / "none")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"private_key_file": "key.pem", "private_key_password": "open"}, "private_key_password"),
        (
            {
                "token_endpoint_auth_method": "none",
                "grant": "password",
                "username": "ann",
                "password": "open",
            },
            "password",
        ),
        (
            {
                "token_endpoint_auth_method": "none",
                "grant": "jwt_bearer",
                "assertion": {
                    "private_key_file": "key.pem",
                    "private_key_password": "open",
                    "issuer": "me",
                },
            },
            "assertion.private_key_password",
        ),
    ],
)
def test_passwords_in_clear(write, server, settings, key):
    """A password that the file contains in clear is a warning that names a better place."""
    write(pem(ec.generate_private_key(ec.SECP256R1()), "open"), name="key.pem")
    name = key.rpartition(".")[2]
    with pytest.warns(ConfigurationWarning, match=f"{key} is written in clear.*{name}_file"):
        configured(write, block(server, **settings)).close()
