import os
from contextlib import suppress
from contextvars import ContextVar

from adlfs import AzureBlobFileSystem

from tokenkeeper import OAuth2Error, TokenKeeper
from tokenkeeper.integrations.azure import AsyncKeeperCredential

sent = ContextVar("the token of this task's request", default=None)


class StorageCredential(AsyncKeeperCredential):
    """After a 401, Storage's client asks again, with the tenant that the challenge names."""

    def __init__(self, source):
        super().__init__(source)
        self.source = source.aio

    async def get_token_info(self, *scopes, options=None):
        if "tenant_id" in (options or {}) and sent.get() is not None:
            with suppress(OAuth2Error):
                await self.source.renew_refused(sent.get())
        info = await super().get_token_info(*scopes, options=options)
        sent.set(info.token)
        return info


def main():
    with TokenKeeper.from_env() as keeper:
        source = keeper.source("oauth2")  # its scope is https://storage.azure.com/.default
        host = os.environ["STORAGE_HOST"]  # leave it out for contoso.blob.core.windows.net
        files = AzureBlobFileSystem(
            "contoso", credential=StorageCredential(source), account_host=host
        )
        files.pipe("invoices/8.txt", b"43 EUR")
        print(files.cat("invoices/8.txt").decode())


if __name__ == "__main__":
    main()
