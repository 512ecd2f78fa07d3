"""Keys of grants and of client authentication that do not go together: each is a clear mistake."""

import json

import pytest
from click.testing import CliRunner

from tokenkeeper import InvalidConfigurationError, TokenKeeper
from tokenkeeper.cli.group import cli

GENERIC = {
    "provider_name": "api",
    "provider_type": "generic",
    "client_id": "worker",
    "client_secret": "hunter2",
    "token_url": "https://id.example.com/token",
}
AZURE = {
    "provider_name": "api",
    "provider_type": "azure",
    "client_id": "worker",
    "client_secret": "hunter2",
    "tenant_id": "contoso.example",
}
NULL = object()
"""A key without a value; ``None`` in a row leaves the key out."""
NO_SECRET = {"client_secret": None}
IDENTITY = {
    "client_secret": None,
    "client_id": None,
    "tenant_id": None,
    "managed_identity": True,
    "scope": "https://vault.azure.net/.default",
}
KEY = {**NO_SECRET, "private_key_file": "key.pem"}
ASSERTION = {**NO_SECRET, "client_assertion_file": "assertion"}
MTLS = {
    **NO_SECRET,
    "token_endpoint_auth_method": "tls_client_auth",
    "certificate_file": "client.pem",
}
PUBLIC = {**NO_SECRET, "token_endpoint_auth_method": "none"}
SECRET_JWT = {"token_endpoint_auth_method": "client_secret_jwt"}
EXCHANGE = {"grant": "token_exchange"}
BEARER = {"grant": "jwt_bearer"}
SIGNED = {"private_key_file": "key.pem", "issuer": "service@example.com"}
PASSWORD = {"grant": "password", "username": "ann", "password": "hunter2"}
SERVER = {"token_url": None, "issuer": "https://id.example.com"}
CODE = {**SERVER, "grant": "authorization_code"}
DEVICE = {**SERVER, "grant": "device_code"}
CIBA = {**SERVER, "grant": "ciba"}
METHODS = (
    "'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'none', 'private_key_jwt', "
    "'tls_client_auth' or 'self_signed_tls_client_auth'"
)
TOKENS = "{file: PATH}, {env: NAME}, {provider: NAME} or {github: AUDIENCE}"
ASSERTIONS = (
    "{file: PATH}, {env: NAME}, {provider: NAME}, {github: AUDIENCE} or {private_key_file: PATH}"
)
NEEDS_SIGNATURE = "needs private_key_file, or token_endpoint_auth_method: client_secret_jwt"

OF_GENERIC = [
    # the server
    ({"token_url": NULL}, ["token_url has no value"]),
    ({"token_url": None}, ["token_url is missing. Set it, or issuer"]),
    ({"client_id": None}, ["client_id is missing"]),
    ({"client_id": NULL}, ["client_id has no value"]),
    ({"issuer": "https://id.example.com"}, ["token_url can't be combined with issuer"]),
    (
        {"token_url": None, "issuer": "http://id.example.com"},
        ["issuer must be https:// unless the host is loopback: it carries a secret"],
    ),
    (
        {"endpoints": {"token_endpoint": "https://id.example.com/t"}},
        ["endpoints.token_endpoint can't be combined with token_url"],
    ),
    (
        {"endpoints": {"revocation_endpiont": "https://id.example.com/t"}},
        ["endpoints must not contain 'revocation_endpiont'. Did you mean 'revocation_endpoint'?"],
    ),
    (
        {"endpoints": {"revocation_endpoint": "http://id.example.com/t"}},
        [
            (
                "endpoints has a wrong revocation_endpoint: it must be https:// unless the host is "
                "loopback: it carries a secret"
            )
        ],
    ),
    ({"endpoints": ["a"]}, ["endpoints must be a mapping of names to URLs"]),
    # how the client authenticates
    (NO_SECRET, ["client_secret is missing. Set it, or client_secret_file"]),
    ({"token_endpoint_auth_method": "basic"}, [f"token_endpoint_auth_method must be {METHODS}"]),
    (
        {**NO_SECRET, "token_endpoint_auth_method": "client_secret_jwt"},
        ["client_secret is missing. Set it, or client_secret_file"],
    ),
    (
        {**NO_SECRET, "token_endpoint_auth_method": "private_key_jwt"},
        [
            (
                "private_key_file is missing. token_endpoint_auth_method 'private_key_jwt' needs "
                "it. Set it, or client_assertion_file"
            )
        ],
    ),
    (
        {**NO_SECRET, "token_endpoint_auth_method": "tls_client_auth"},
        ["certificate_file is missing. token_endpoint_auth_method 'tls_client_auth' needs it"],
    ),
    (
        {**NO_SECRET, "token_endpoint_auth_method": "self_signed_tls_client_auth"},
        [
            (
                "certificate_file is missing. token_endpoint_auth_method "
                "'self_signed_tls_client_auth' needs it"
            )
        ],
    ),
    (
        {"private_key_file": "key.pem"},
        ["client_secret can't be combined with private_key_file"],
    ),
    (
        {"client_secret": None, "client_secret_file": "secret", "private_key_file": "key.pem"},
        ["client_secret_file can't be combined with private_key_file"],
    ),
    (
        {"client_assertion_file": "assertion"},
        ["client_secret can't be combined with client_assertion_file"],
    ),
    (
        {**MTLS, "client_secret": "hunter2"},
        ["client_secret can't be combined with token_endpoint_auth_method: tls_client_auth"],
    ),
    (
        {**MTLS, "private_key_file": "key.pem"},
        ["private_key_file can't be combined with token_endpoint_auth_method: tls_client_auth"],
    ),
    (
        {"token_endpoint_auth_method": "client_secret_post", "private_key_file": "key.pem"},
        ["private_key_file can't be combined with token_endpoint_auth_method: client_secret_post"],
    ),
    (
        {"token_endpoint_auth_method": "client_secret_jwt", "certificate_file": "client.pem"},
        ["certificate_file can't be combined with token_endpoint_auth_method: client_secret_jwt"],
    ),
    (
        {**ASSERTION, "token_endpoint_auth_method": "none"},
        ["client_assertion_file can't be combined with token_endpoint_auth_method: none"],
    ),
    (
        {**KEY, "token_endpoint_auth_method": "none"},
        ["private_key_file can't be combined with token_endpoint_auth_method: none"],
    ),
    (
        {"certificate_file": "client.pem"},
        [
            (
                "certificate_file needs token_endpoint_auth_method: tls_client_auth or "
                "self_signed_tls_client_auth"
            )
        ],
    ),
    (
        {**KEY, "client_assertion_file": "assertion"},
        ["client_assertion_file can't be combined with private_key_file"],
    ),
    (
        {**KEY, "certificate_key_file": "key.pem"},
        ["certificate_key_file needs certificate_file"],
    ),
    (
        {**KEY, "certificate_file": "client.pem", "certificate_key_file": "key.pem"},
        ["certificate_key_file can't be combined with private_key_file"],
    ),
    (
        {**ASSERTION, "certificate_file": "client.pem"},
        ["certificate_file can't be combined with client_assertion_file"],
    ),
    ({"private_key_password": "hunter2"}, ["private_key_password needs private_key_file"]),
    ({"private_key_password_file": "key.pem"}, ["private_key_password_file needs private_key"]),
    (
        {**KEY, "private_key_password": "hunter2", "private_key_password_file": "secret"},
        ["private_key_password_file can't be combined with private_key_password"],
    ),
    (
        {**KEY, "private_key_password_file": "nowhere"},
        ["private_key_password_file can't be read: No such file or directory"],
    ),
    ({"key_id": "k1"}, ["key_id needs private_key_file"]),
    ({"signing_alg": "ES256"}, [f"signing_alg {NEEDS_SIGNATURE}"]),
    (
        {**ASSERTION, "signing_alg": "ES256"},
        ["signing_alg can't be combined with client_assertion_file, which is signed already"],
    ),
    ({"client_assertion_audience": "a"}, [f"client_assertion_audience {NEEDS_SIGNATURE}"]),
    (
        {**ASSERTION, "client_assertion_audience": "a"},
        ["client_assertion_audience can't be combined with client_assertion_file, which is signed"],
    ),
    ({**KEY, "private_key_file": "nowhere"}, ["private_key_file can't be read: No such file"]),
    ({**KEY, "private_key_file": "."}, ["private_key_file names a directory"]),
    ({**KEY, "private_key_file": 5}, ["private_key_file must be a string. Put it in quotes"]),
    ({**MTLS, "certificate_file": "nowhere"}, ["certificate_file can't be read: No such file"]),
    (
        {**MTLS, "certificate_key_file": "nowhere"},
        ["certificate_key_file can't be read: No such file or directory"],
    ),
    ({"certificate_key_file": "key.pem"}, ["certificate_key_file needs certificate_file"]),
    (KEY, ["private_key_file "]),
    (MTLS, ["certificate_file "]),
    (
        {**SECRET_JWT, "signing_alg": "ES256"},
        ["signing_alg must be 'HS256', 'HS384' or 'HS512' for a client secret"],
    ),
    # DPoP
    ({"dpop": "nowhere"}, ["dpop can't be read: No such file or directory"]),
    ({"dpop": 5}, ["dpop must be a string, not int"]),
    ({"allow_bearer": True}, ["allow_bearer needs dpop"]),
    ({"dpop": False, "allow_bearer": True}, ["allow_bearer needs dpop"]),
    # the grant
    (
        {"grant": "implicit"},
        [
            (
                "grant must be 'client_credentials', 'authorization_code', 'device_code', "
                "'refresh_token', 'token_exchange', 'jwt_bearer', 'ciba' or 'password'"
            )
        ],
    ),
    (
        {"grant": "client_credentials", "grant_type": "client_credentials"},
        ["grant_type can't be combined with grant"],
    ),
    ({"subject_token": {"file": "t"}}, ["subject_token is only valid with grant: token_exchange"]),
    (
        {**BEARER, "assertion": {"file": "t"}, "actor_token": {"file": "t"}},
        ["actor_token is only valid with grant: token_exchange"],
    ),
    ({"subject_token_type": "jwt"}, ["subject_token_type is only valid with grant: token_exch"]),
    ({"requested_token_type": "jwt"}, ["requested_token_type is only valid with grant: token_"]),
    ({**EXCHANGE, "assertion": {"file": "t"}}, ["assertion is only valid with grant: jwt_bearer"]),
    ({"username": "ann"}, ["username is only valid with grant: password"]),
    ({"password": "hunter2"}, ["password is only valid with grant: password"]),
    (BEARER, ["assertion is missing. grant 'jwt_bearer' needs it"]),
    ({**PASSWORD, "username": None}, ["username is missing. grant 'password' needs it"]),
    (
        {**PASSWORD, "password": None},
        ["password is missing. grant 'password' needs it. Set it, or password_file"],
    ),
    (
        {**PASSWORD, "password_file": "secret"},
        ["password_file can't be combined with password"],
    ),
    (
        {**EXCHANGE, "subject_token": {"file": "t"}, "additional_params": {"subject_token": "t"}},
        ["additional_params.subject_token can't be combined with the key subject_token"],
    ),
    (
        {**EXCHANGE, "additional_params": {"subject_token": "t"}},
        ["additional_params.subject_token must be a key of its own: subject_token"],
    ),
    (
        {"audience": "a", "additional_params": {"audience": "b"}},
        ["additional_params.audience can't be combined with the key audience"],
    ),
    (
        {"resource": "https://a.example", "additional_params": {"resource": "b"}},
        ["additional_params.resource can't be combined with the key resource"],
    ),
    ({"resource": {"a": 1}}, ["resource must be a string or a list of strings, not dict"]),
    (
        {"grant": "refresh_token"},
        [
            (
                "refresh_token_file is missing. grant 'refresh_token' needs it, or refresh_token "
                "in additional_params"
            )
        ],
    ),
    ({"refresh_token_file": "t"}, ["refresh_token_file is only valid with grant: refresh_token"]),
    (
        {
            "grant": "refresh_token",
            "refresh_token_file": "t",
            "additional_params": {"refresh_token": "hunter2"},
        },
        ["additional_params.refresh_token can't be combined with refresh_token_file"],
    ),
    (
        {"scope_by_refresh": True},
        [
            (
                "scope_by_refresh needs refresh_token_file, or grant: authorization_code, "
                "device_code or ciba"
            )
        ],
    ),
    (
        {"custody": "auto"},
        [
            (
                "custody is only valid with grant: refresh_token, authorization_code, device_code "
                "or ciba"
            )
        ],
    ),
    # a sign-in
    (
        {"grant": "authorization_code"},
        [
            (
                "issuer is missing. grant 'authorization_code' needs it in place of token_url, or "
                "endpoints.authorization_endpoint"
            )
        ],
    ),
    (
        {"grant": "device_code", "endpoints": {"authorization_endpoint": "https://a.example/"}},
        [
            (
                "issuer is missing. grant 'device_code' needs it in place of token_url, or "
                "endpoints.device_authorization_endpoint"
            )
        ],
    ),
    (
        {"grant": "ciba", "token_url": None},
        [
            (
                "issuer is missing. grant 'ciba' needs it, or "
                "endpoints.backchannel_authentication_endpoint"
            ),
            "token_url is missing. Set it, or issuer",
        ],
    ),
    (
        {
            "grant": "authorization_code",
            "par": True,
            "endpoints": {"authorization_endpoint": "https://id.example.com/authorize"},
        },
        ["par needs issuer, or endpoints.pushed_authorization_request_endpoint"],
    ),
    (
        {**CODE, "redirect_uri": "https://app.example.com/callback", "redirect_port": 8400},
        ["redirect_port can't be combined with redirect_uri"],
    ),
    ({**CODE, "redirect_port": 0}, ["redirect_port must be greater than or equal to 1"]),
    ({**CODE, "redirect_port": 65536}, ["redirect_port must be less than or equal to 65535"]),
    ({**CODE, "redirect_port": True}, ["redirect_port must be a number"]),
    ({**CODE, "par": "yes"}, ["par must be true or false"]),
    ({**CODE, "refresh_token_file": "t"}, ["refresh_token_file is only valid with grant: refresh"]),
    (
        {**CODE, "additional_params": {"redirect_uri": "https://app.example.com/callback"}},
        ["additional_params.redirect_uri must be a key of its own: redirect_uri"],
    ),
    ({**CODE, "authorize_parameters": [5]}, ["authorize_parameters must be a mapping"]),
    ({**CODE, "custody": 5}, ["custody must be a URL, or a block with url and key_file"]),
    ({**CODE, "custody": "nope://x"}, ["custody has the unknown scheme 'nope'. Use one of"]),
    ({**CODE, "custody": "redis://h"}, ["custody needs a key, because others may read the store"]),
    (
        {**CODE, "custody": {"ulr": "sqlite:////tmp/t.db"}},
        ["custody: unknown key 'ulr'. Did you mean 'url'?"],
    ),
    (
        {**CODE, "custody": {"url": "redis://h", "key_file": "nowhere"}},
        ["custody.key_file is not usable: "],
    ),
    ({**CODE, "login_hint": "ann"}, ["login_hint is only valid with grant: ciba"]),
    ({**DEVICE, "redirect_uri": "http://127.0.0.1/"}, ["redirect_uri is only valid with grant: a"]),
    ({**DEVICE, "par": False}, ["par is only valid with grant: authorization_code"]),
    (
        {"authorize_parameters": {"prompt": "consent"}},
        ["authorize_parameters is only valid with grant: authorization_code, device_code or ciba"],
    ),
    ({"redirect_port": 8400}, ["redirect_port is only valid with grant: authorization_code"]),
    ({**DEVICE, "binding_message": "A1"}, ["binding_message is only valid with grant: ciba"]),
    ({**CIBA, "binding_message": 5}, ["binding_message must be a string. Put it in quotes"]),
    (
        {**CIBA, "login_hint": 5},
        [f"login_hint must be a string or a block: {TOKENS}"],
    ),
    ({**CIBA, "login_hint": " "}, ["login_hint is empty. Set it, or check"]),
    ({**CIBA, "login_hint": {}}, [f"login_hint is empty. Set it to {TOKENS}"]),
    (
        {**CIBA, "login_hint": {"fiel": "t"}},
        ["login_hint: unknown key 'fiel' for login_hint. Did you mean 'file'?"],
    ),
    (
        {**CIBA, "login_hint": {"provider": "apis"}},
        ["login_hint.provider names no provider of this configuration. Did you mean 'api'?"],
    ),
    ({**CIBA, "id_token_hint": "hunter2"}, [f"id_token_hint must be a block: {TOKENS}"]),
    (
        {**CIBA, "login_hint": "ann", "id_token_hint": {"file": "t"}},
        ["id_token_hint can't be combined with login_hint"],
    ),
    # tokens
    ({**EXCHANGE, "subject_token": "hunter2"}, [f"subject_token must be a block: {TOKENS}"]),
    ({**EXCHANGE, "subject_token": {}}, [f"subject_token is empty. Set it to {TOKENS}"]),
    (
        {**EXCHANGE, "subject_token": {"fiel": "t"}},
        ["subject_token: unknown key 'fiel' for subject_token. Did you mean 'file'?"],
    ),
    (
        {**EXCHANGE, "subject_token": {"file": "t", "env": "T"}},
        ["subject_token.env can't be combined with file"],
    ),
    (
        {**EXCHANGE, "subject_token": {"file": "t", "scope": "read"}},
        ["subject_token: unknown key 'scope' for subject_token"],
    ),
    ({**EXCHANGE, "subject_token": {"file": ""}}, ["subject_token.file is empty. Set it, or"]),
    ({**EXCHANGE, "subject_token": {"env": 5}}, ["subject_token.env must be a string, not int"]),
    ({**EXCHANGE, "actor_token": {"github": None}}, ["actor_token.github must be a string, not"]),
    (
        {**EXCHANGE, "actor_token": {"private_key_file": "key.pem"}},
        ["actor_token: unknown key 'private_key_file' for actor_token"],
    ),
    (
        {**EXCHANGE, "subject_token": {"provider": "other", "scope": [5]}},
        [
            "subject_token.provider names no provider of this configuration",
            "subject_token.scope must contain only strings, not int",
        ],
    ),
    (
        {**EXCHANGE, "subject_token": {"provider": "api", "tenant": "a/b"}},
        [
            "subject_token.provider closes a circle: api needs api",
            "subject_token.tenant must be a GUID or a domain",
        ],
    ),
    (
        {**EXCHANGE, "subject_token": {"provider": "apis"}},
        ["subject_token.provider names no provider of this configuration. Did you mean 'api'?"],
    ),
    ({**BEARER, "assertion": "hunter2"}, [f"assertion must be a block: {ASSERTIONS}"]),
    (
        {**BEARER, "assertion": {"private_key_file": "key.pem"}},
        ["assertion.issuer is missing. It names who signs the assertion"],
    ),
    (
        {**BEARER, "assertion": {**SIGNED, "private_key_file": "nowhere"}},
        ["assertion.private_key_file can't be read: No such file or directory"],
    ),
    (
        {**BEARER, "assertion": {**SIGNED, "lifetime_seconds": True, "claims": 5}},
        [
            "assertion.claims must be a block of keys and values",
            "assertion.lifetime_seconds must be a number of seconds, more than 0",
        ],
    ),
    (
        {**BEARER, "assertion": {**SIGNED, "subject": 5}},
        ["assertion.subject must be a string, not int"],
    ),
    (
        {**BEARER, "assertion": {**SIGNED, "private_key_password_file": 5}},
        ["assertion.private_key_password_file must be a string, not int"],
    ),
    *(
        (
            {**BEARER, "assertion": {**SIGNED, "lifetime_seconds": seconds}},
            ["assertion.lifetime_seconds must be a number of seconds, more than 0"],
        )
        for seconds in (0, 1e300, "600")
    ),
    (
        {**BEARER, "assertion": {**SIGNED, "private_key_password_file": "nowhere"}},
        ["assertion.private_key_password_file can't be read: No such file or directory"],
    ),
    (
        {
            **BEARER,
            "assertion": {
                **SIGNED,
                "private_key_password": "hunter2",
                "private_key_password_file": "secret",
            },
        },
        ["assertion.private_key_password_file can't be combined with private_key_password"],
    ),
    ({**PUBLIC, **BEARER, "assertion": SIGNED}, ["assertion.private_key_file "]),
    (
        {**PUBLIC, **EXCHANGE, "subject_token": {"env": "T"}, "subject_token_type": "jot"},
        ["subject_token_type must be a URI or one of"],
    ),
    ({"federated_token_file": "t"}, [": key 'federated_token_file' is only valid for provider_t"]),
]

OF_AZURE = [
    (
        NO_SECRET,
        [
            (
                "client_secret is missing. Set it, client_secret_file, certificate_file, "
                "federated_token_file or managed_identity"
            )
        ],
    ),
    (
        {"certificate_file": "client.pem"},
        ["certificate_file can't be combined with client_secret"],
    ),
    (
        {"federated_token_file": "t"},
        ["federated_token_file can't be combined with client_secret"],
    ),
    (
        {**NO_SECRET, "certificate_file": "client.pem", "federated_token_file": "t"},
        ["federated_token_file can't be combined with certificate_file"],
    ),
    (
        {**IDENTITY, "client_secret": "hunter2"},
        ["managed_identity can't be combined with client_secret"],
    ),
    (
        {**IDENTITY, "client_id": "worker", "tenant_id": "contoso.example"},
        [
            (
                "client_id can't be combined with managed_identity. Set managed_identity to the "
                "client id of the identity"
            ),
            "tenant_id can't be combined with managed_identity, whose platform decides it",
        ],
    ),
    ({"managed_identity": False, "tenant_id": NULL}, ["tenant_id has no value"]),
    ({"managed_identity": "false", "tenant_id": None}, ["tenant_id is missing"]),
    ({**IDENTITY, "managed_identity": 5}, ["managed_identity must be a string, not int"]),
    ({**IDENTITY, "scope": None}, ["scope is missing. managed_identity needs it"]),
    ({**IDENTITY, "region": "auto"}, ["region can't be combined with managed_identity, whose"]),
    ({**IDENTITY, "verify": False}, ["verify can't be combined with managed_identity, whose"]),
    ({**IDENTITY, "managed_identity": ""}, ["managed_identity is empty. Set it"]),
    ({"region": "West Europe"}, ["region 'West Europe' is not the name of a region, such"]),
    ({"certificate_password": "hunter2"}, ["certificate_password needs certificate_file"]),
    ({"send_x5c": True}, ["send_x5c needs certificate_file"]),
    (
        {**NO_SECRET, "certificate_file": "nowhere"},
        ["certificate_file can't be read: No such file or directory"],
    ),
    ({"region": 5}, ["region must be a string. Put it in quotes"]),
    ({"client_capabilities": {}}, ["client_capabilities must be a string or a list of strings"]),
    (
        {"private_key_file": "key.pem"},
        [": key 'private_key_file' is only valid for provider_type 'gen"],
    ),
]

TABLE = [(GENERIC, *row) for row in OF_GENERIC] + [(AZURE, *row) for row in OF_AZURE]


@pytest.fixture
def files(write, monkeypatch, tmp_path):
    """Write the files that blocks name, and make relative paths begin there."""
    for name in ("key.pem", "client.pem", "secret"):
        write("hunter2", name=name)
    monkeypatch.chdir(tmp_path)


def problems_of(block):
    with pytest.raises(InvalidConfigurationError) as raised:
        TokenKeeper.from_config({"oauth2": block})
    assert "hunter2" not in str(raised.value)
    return list(raised.value.problems)


@pytest.mark.parametrize(("block", "changes", "expected"), TABLE)
def test_each_mistake(files, block, changes, expected):
    """Each mistake is reported once, with its key and what to do, and without a secret."""
    block = {key: value for key, value in {**block, **changes}.items() if value is not None}
    block = {key: None if value is NULL else value for key, value in block.items()}
    found = problems_of(block)
    assert len(found) == len(expected), found
    for line, words in zip(found, expected, strict=True):
        separator = "" if words.startswith(":") else "."
        assert line.startswith(f"configuration: oauth2{separator}{words}"), line


LINES = """\
oauth2:
  - provider_name: api
    provider_type: generic
    client_id: worker
    private_key_file: nowhere
    key_id: 5
    client_assertion_audience: [https://id.example.com]
    issuer: https://id.example.com
    grant: token_exchange
    subject_token:
      provider: gitub
      scpe: read
    actor_token:
      file: t
      env: T
  - provider_name: github
    provider_type: generic
    client_id: worker
    token_endpoint_auth_method: tls_client_auth
    token_url: https://id.example.com/token
"""

EXPECTED = """\
line 5: oauth2[0].private_key_file can't be read: No such file or directory
line 6: oauth2[0].key_id must be a string. Put it in quotes
line 11: oauth2[0].subject_token.provider names no provider of this configuration. Did you mean \
'github'?
line 12: oauth2[0].subject_token: unknown key 'scpe' for subject_token. Did you mean 'scope'?
line 15: oauth2[0].actor_token.env can't be combined with file
line 16: oauth2[1].certificate_file is missing. token_endpoint_auth_method 'tls_client_auth' needs \
it
"""


def test_lines(write):
    """`config check` reports each mistake with its line, also those between two providers."""
    path = str(write(LINES))
    result = CliRunner().invoke(cli, ["config", "check", path, "--json"])
    assert result.exit_code == 2
    found = json.loads(result.stdout)["problems"]
    assert [line.removeprefix("tokens.yaml, ") for line in found] == EXPECTED.splitlines()
