"""Clients from the environment that prove who they are by a key, a certificate or a token."""

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kit.servers.recording import Recording
from kit.servers.tls import self_signed

from tokenkeeper import ConfigurationWarning, InvalidConfigurationError, TokenKeeper
from tokenkeeper.config.discovery import Discovery

OAUTH2 = {"OAUTH2_CLIENT_ID": "worker", "OAUTH2_TOKEN_URL": "https://id.example.com/token"}
AZURE = {"AZURE_CLIENT_ID": "worker", "AZURE_TENANT_ID": "contoso.example"}
SECRET = {"OAUTH2_CLIENT_SECRET": "hunter2"}
NEEDS_ONE = (
    "OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD must be 'client_secret_basic', 'client_secret_post', "
    "'client_secret_jwt', 'none', 'private_key_jwt', 'tls_client_auth' or "
    "'self_signed_tls_client_auth'"
)


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def files(write, environment, tmp_path):
    """Write the files that variables name, and make relative paths begin there."""
    key, application = (
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
    )
    write(pem(key), name="key.pem")
    write(pem(key) + self_signed(key).decode(), name="client.pem")
    write(pem(application) + self_signed(application).decode(), name="app.pem")
    write("a-token", name="token")
    environment.chdir(tmp_path)


def find(variables):
    """Return the specification of each provider that *variables* describe."""
    return Discovery.from_env(variables).specs()


@pytest.mark.parametrize(
    ("variables", "method"),
    [
        ({"OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD": "none"}, "none"),
        ({**SECRET, "OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_post"}, None),
        (
            {
                "OAUTH2_CLIENT_SECRET": "s" * 32,
                "OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_jwt",
            },
            "client_secret_jwt",
        ),
        ({"OAUTH2_PRIVATE_KEY_FILE": "key.pem"}, "private_key_jwt"),
        (
            {
                "OAUTH2_PRIVATE_KEY_FILE": "key.pem",
                "OAUTH2_KEY_ID": "k1",
                "OAUTH2_SIGNING_ALG": "ES256",
                "OAUTH2_CLIENT_ASSERTION_AUDIENCE": "a b",
            },
            "private_key_jwt",
        ),
        ({"OAUTH2_CLIENT_ASSERTION_FILE": "token"}, "private_key_jwt"),
        (
            {
                "OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD": "tls_client_auth",
                "OAUTH2_CERTIFICATE_FILE": "client.pem",
                "OAUTH2_CERTIFICATE_KEY_FILE": "key.pem",
            },
            "tls_client_auth",
        ),
        (
            {
                "OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD": "self_signed_tls_client_auth",
                "OAUTH2_CERTIFICATE_FILE": "client.pem",
            },
            "self_signed_tls_client_auth",
        ),
    ],
)
def test_methods(files, variables, method):
    """Each method of client authentication can be described, and needs a secret only if it does."""
    (spec,) = find({**OAUTH2, **variables}).values()
    described = spec.make_provider().describe()
    assert described["token_endpoint_auth_method"] == (method or "client_secret_post")
    assert "hunter2" not in repr(spec)


def test_an_issuer(files):
    """OAUTH2_ISSUER stands for OAUTH2_TOKEN_URL, and targets are parameters of the request."""
    variables = {**OAUTH2, **SECRET, "OAUTH2_ISSUER": "https://id.example.com"}
    variables |= {"OAUTH2_AUDIENCE": "one,two", "OAUTH2_RESOURCE": "https://api.example.com"}
    del variables["OAUTH2_TOKEN_URL"]
    (spec,) = find(variables).values()
    assert spec.make_provider().describe()["issuer"] == "https://id.example.com"
    assert spec.make_provider().identity()["parameters"] == {
        "audience": ("one", "two"),
        "resource": ("https://api.example.com",),
    }


def test_a_token_by_a_key(files, environment):
    """A keeper from the environment signs an assertion with the key."""
    with Recording() as server:
        environment.setenv("OAUTH2_CLIENT_ID", "worker")
        environment.setenv("OAUTH2_TOKEN_URL", server.token_url)
        environment.setenv("OAUTH2_PRIVATE_KEY_FILE", "key.pem")
        with TokenKeeper.from_env(background=False) as keeper:
            keeper.get_token("oauth2")
        sent = dict(server.received[-1].form)["client_assertion"]
    assert jwt.decode(sent, options={"verify_signature": False})["sub"] == "worker"


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"AZURE_CLIENT_CERTIFICATE_PATH": "app.pem"}, {"certificate_file": "app.pem"}),
        ({"AZURE_FEDERATED_TOKEN_FILE": "token"}, {"federated_token_file": "token"}),
        (
            {
                "AZURE_CLIENT_CERTIFICATE_PATH": "app.pem",
                "AZURE_FEDERATED_TOKEN_FILE": "token",
                "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN": "true",
                "AZURE_REGIONAL_AUTHORITY_NAME": "TryAutoDetect",
            },
            {"certificate_file": "app.pem"},
        ),
        (
            {
                "AZURE_CLIENT_SECRET": "hunter2",
                "AZURE_CLIENT_CERTIFICATE_PATH": "nowhere",
                "AZURE_CLIENT_CERTIFICATE_PASSWORD": "open",
                "AZURE_FEDERATED_TOKEN_FILE": "token",
            },
            {},
        ),
    ],
)
def test_applications(files, tmp_path, variables, shown):
    """A secret comes before a certificate, and that before a federated token."""
    (spec,) = find({**AZURE, **variables}).values()
    described = spec.make_provider().describe()
    credentials = {key: described[key] for key in described if key.endswith("_file")}
    assert credentials == {key: str(tmp_path / name) for key, name in shown.items()}


def test_what_a_platform_sets():
    """A federated token, which AKS sets for every program, describes no second client."""
    lent = {**AZURE, "AZURE_FEDERATED_TOKEN_FILE": "/var/run/token"}
    assert list(find({**OAUTH2, **SECRET, **lent})) == ["oauth2"]
    assert list(find(lent)) == ["azure"]
    (found,) = Discovery.from_env({**OAUTH2, **SECRET, **lent}).find(["api"])
    assert found.spec.provider_type == "generic"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {**OAUTH2, **SECRET, "OAUTH2_ISSUER": "https://id.example.com"},
            "OAUTH2_TOKEN_URL can't be combined with OAUTH2_ISSUER",
        ),
        (
            {**OAUTH2, **SECRET, "OAUTH2_PRIVATE_KEY_FILE": "key.pem"},
            "OAUTH2_CLIENT_SECRET can't be combined with OAUTH2_PRIVATE_KEY_FILE",
        ),
        (
            {**OAUTH2, "OAUTH2_CERTIFICATE_FILE": "client.pem"},
            "OAUTH2_CERTIFICATE_FILE needs OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD: tls_client_auth or",
        ),
        (
            {**OAUTH2, "OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD": "private_key_jwt"},
            "OAUTH2_PRIVATE_KEY_FILE is missing. OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD 'private_key_",
        ),
        (
            {**OAUTH2, "OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD": "client_secret_jwt"},
            "OAUTH2_CLIENT_SECRET is missing. Set it, or OAUTH2_CLIENT_SECRET_FILE",
        ),
        ({**OAUTH2, "OAUTH2_TOKEN_ENDPOINT_AUTH_METHOD": "basic"}, NEEDS_ONE),
        (
            {**OAUTH2, "OAUTH2_PRIVATE_KEY_FILE": "nowhere"},
            "OAUTH2_PRIVATE_KEY_FILE can't be read: No such file or directory",
        ),
        (
            {**OAUTH2, "OAUTH2_PRIVATE_KEY_FILE": "token"},
            "(read from OAUTH2_PRIVATE_KEY_FILE)",
        ),
        (
            {
                **OAUTH2,
                "OAUTH2_PRIVATE_KEY_FILE": "key.pem",
                "OAUTH2_PRIVATE_KEY_PASSWORD": "hunter2",
                "OAUTH2_PRIVATE_KEY_PASSWORD_FILE": "token",
            },
            "OAUTH2_PRIVATE_KEY_PASSWORD and OAUTH2_PRIVATE_KEY_PASSWORD_FILE are both set",
        ),
        ({**OAUTH2, **SECRET, "OAUTH2_KEY_ID": "k1"}, "OAUTH2_KEY_ID needs OAUTH2_PRIVATE_KEY"),
        (
            {**AZURE, "AZURE_CLIENT_CERTIFICATE_PATH": "nowhere"},
            "AZURE_CLIENT_CERTIFICATE_PATH can't be read: No such file or directory",
        ),
        (
            {**AZURE, "AZURE_CLIENT_CERTIFICATE_PATH": "key.pem"},
            "(read from AZURE_CLIENT_CERTIFICATE_PATH)",
        ),
        (
            {
                **AZURE,
                "AZURE_CLIENT_SECRET": "hunter2",
                "AZURE_REGIONAL_AUTHORITY_NAME": "West Europe",
            },
            "(read from AZURE_REGIONAL_AUTHORITY_NAME)",
        ),
    ],
)
def test_mistakes(files, variables, words):
    """Each mistake names the variable, and shows no secret."""
    with pytest.raises(InvalidConfigurationError) as raised:
        find(variables)
    assert words in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_key_that_every_user_can_read(environment, open_directory):
    """A key file that every user can read is a warning."""
    file = open_directory / "key.pem"
    file.write_text(pem(ec.generate_private_key(ec.SECP256R1())))
    file.chmod(0o644)
    with pytest.warns(ConfigurationWarning, match="key.pem contains a secret and is readable by"):
        find({**OAUTH2, "OAUTH2_PRIVATE_KEY_FILE": str(file)})
