import os

from azure.identity import ClientAssertionCredential

from tokenkeeper import TokenKeeper

with TokenKeeper.from_env() as keeper:
    source = keeper.source("oauth2")  # its token is the proof that Entra ID asks for
    with ClientAssertionCredential(
        os.environ["ENTRA_TENANT"],
        os.environ["ENTRA_CLIENT"],
        source,
        authority=os.environ.get("ENTRA_URL", "https://login.microsoftonline.com"),
    ) as credential:
        token = credential.get_token("https://storage.azure.com/.default")
        print("a token of Entra ID:", bool(token.token))
