"""Two-second tokens of oidc-provider, renewed for a minute while callers use them."""

LIFETIME = 2
SECONDS = 60


def test_two_second_tokens(kit, server, make_keeper, make_provider, watch):
    """The API rejects no token, and no caller waits for a renewal while a token is valid.

    This server counts whole seconds: a token that it grants for two may expire soon after one. One
    client's tokens are opaque, the other's are JWTs.
    """
    server.add_client("opaque", lifetime_seconds=LIFETIME, delay_seconds=0.1)
    server.add_client("jwt", lifetime_seconds=LIFETIME)
    watch.margin_seconds = LIFETIME / 20
    resource = {"resource": "https://invoices.example.com/"}
    keeper = make_keeper(
        make_provider("opaque", "opaque"),
        make_provider("jwt", "jwt", config={"additional_params": resource}),
    )
    names = keeper.list_providers()
    for name in names:
        keeper.get_token(name)

    kit.work(keeper, SECONDS)

    # A busy machine may stall the test for as long as a token is valid. That proves nothing and may
    # cost one more request, but it must not be the usual case.
    stalls = len(set(watch.expired))
    for name in names:

        def renewals(name=name):
            return keeper.get_cached_token_info(name)["renewals"]

        def one_each(name=name, renewals=renewals):
            return server.stats(name)["token_requests"] <= renewals() + 1 + stalls

        kit.until(one_each, "one request for each renewal")
        assert renewals() >= SECONDS / LIFETIME
        assert server.stats(name)["most_at_once"] <= 1
        assert stalls <= renewals() / 4
    assert len(watch.late) <= len(watch.accepted) / 4
