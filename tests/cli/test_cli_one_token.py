"""What ``get`` and ``introspect`` have in common: the one token that they need."""

import pytest
from kit.servers.dpop import DPoPServer

from tokenkeeper.cli import one_token
from tokenkeeper.cli.asking import Answer

BOUND = """\
oauth2:
  provider_name: bank
  provider_type: generic
  client_id: me
  token_endpoint_auth_method: none
  token_url: {url}
  dpop: true
"""


@pytest.mark.parametrize("command", ["get", "introspect"])
def test_a_token_that_does_not_arrive(tokenkeeper, environment, command):
    """The claim of a request that is abandoned is released, so no other process waits for it."""
    released = []
    late = Answer(timed_out=True)
    environment.setattr(one_token, "ask", lambda _, names, **__: dict.fromkeys(names, late))
    environment.setattr(one_token, "release_claim", lambda *given: released.append(given[2]))
    result = tokenkeeper(command, "billing", "--scope", "write", "--timeout", "5")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: provider 'billing': no token within 5 s (--timeout)\n"
    assert released == ['billing\n{"scope":["write"]}']


def test_a_header_for_a_bound_token(tokenkeeper, config):
    """A token that needs a proof is not printed as a bearer token, which a server must refuse."""
    with DPoPServer() as server:
        config.write_text(BOUND.format(url=server.token_url))
        result = tokenkeeper("get", "bank", "--format", "header")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "provider 'bank': its tokens are bound to a key (DPoP)" in result.stderr
        assert '"token_type": "DPoP"' in tokenkeeper("get", "bank", "--json").stdout
