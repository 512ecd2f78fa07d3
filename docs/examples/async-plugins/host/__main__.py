"""Run all plugins: ``python -m host``."""

from host.plugin import PluginThread
from host.vault import VaultProvider
from tokenkeeper import OAuth2TokenManager


def run(tokens: OAuth2TokenManager, names: tuple[str, ...]) -> dict[str, set[str]]:
    """Run the plugins side by side and return the tokens that each one saw."""
    threads = [PluginThread(name, tokens) for name in names]
    for thread in threads:
        thread.start()
    tokens.keeper.get_token("vault", timeout=10)  # blocking code shares the same tokens
    for thread in threads:
        thread.join()
    return {thread.name: thread.result for thread in threads}


if __name__ == "__main__":
    manager = OAuth2TokenManager()  # one for the whole program
    vault = VaultProvider("vault")
    manager.add_provider(vault)
    for name, seen in run(manager, ("reports", "alerts")).items():
        print(name, seen)
    print("token requests:", vault.requests)
    manager.keeper.close()
