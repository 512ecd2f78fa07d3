"""One process of a fleet: asks for the token in a loop, and writes down what it meets.

``python -m kit.fleets.worker FOLDER`` reads ``config.json`` there. Each line of its standard input
is a number of workers to fork. A worker writes to ``PID.jsonl``, line by line, so that one that is
killed leaves what it met until then. Files in the folder steer them: ``go`` starts the loop,
``stop`` ends it, ``reject`` makes each report its token as rejected once, and ``freeze`` stops one
process right before a request.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path

from kit.fleets import tokens
from kit.fleets.file_lock import shared_by_file
from kit.fleets.tokens import now


def provider_of(config, folder):
    from tokenkeeper import GenericOAuth2Provider, OAuth2Config, RetryPolicy

    class Provider(GenericOAuth2Provider):
        """Stops its process right before a request, if the file ``freeze`` is there."""

        def refresh_token(self, token):
            with contextlib.suppress(FileNotFoundError):
                (folder / "freeze").unlink()
                # To this thread: sent to the process, it would reach another one first, and the
                # request might be sent before this thread is stopped.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
            return super().refresh_token(token)

    settings = config["provider"]
    kind = shared_by_file(Provider, folder) if config["file_lock"] else Provider
    return kind(
        OAuth2Config(
            "api",
            settings["client_id"],
            settings["client_secret"],
            token_url=settings["token_url"],
            additional_params=settings.get("additional_params"),
        ),
        retry=RetryPolicy(**settings["retry"]) if "retry" in settings else None,
        headers={"X-Process": str(os.getpid())},
        **settings.get("options", {}),
    )


class Worker:
    """Lives in a process of its own."""

    def __init__(self, folder, config):
        self.folder = folder
        self.config = config
        self.log = (folder / f"{os.getpid()}.jsonl").open("w", buffering=1)
        self.met = {"reads": 0, "expired": 0, "errors": 0, "errors_while_valid": 0}
        self.slowest_while_valid = 0.0
        self.slowest = 0.0
        self.expiries = {}
        self.keeper = None
        self.token = None

    def write(self, **fields):
        self.log.write(json.dumps(fields) + "\n")

    def note(self, event):
        """Write down an event of the keeper."""
        fields = {"event": type(event).__name__, "at": now()}
        if fields["event"] in ("TokenAcquired", "TokenRenewed", "TokenAdopted"):
            info = self.keeper.get_cached_token_info("api") if self.keeper else None
            fields["generation"] = info["generation"] if info else None
        for name in ("reason", "claim_age_seconds", "difference_seconds"):
            if hasattr(event, name):
                fields[name] = getattr(event, name)
        self.write(**fields)

    def live(self):
        from tokenkeeper import TokenKeeper

        self.keeper = keeper = TokenKeeper(store=self.config["store"], hooks=[self.note])
        keeper.add_provider(provider_of(self.config, self.folder))
        self.write(event="ready", at=now())
        self.wait_for("go")
        end = now() + self.config["seconds"]
        rejected = False
        pause = self.config["pause"]
        while now() < end and not (self.folder / "stop").exists():
            if not rejected and (self.folder / "reject").exists():
                rejected = True
                self.call(lambda: keeper.renew_refused("api", self.token))
            else:
                self.call(lambda: keeper.get_token("api", timeout=self.config["timeout"]))
            signal.sigtimedwait([], pause)
        info = keeper.get_cached_token_info("api")
        self.write(event="end", at=now(), **self.summary(), info=info and info["generation"])
        if self.config.get("closes"):
            keeper.close()

    def summary(self):
        return {
            **self.met,
            "slowest_while_valid": self.slowest_while_valid,
            "slowest": self.slowest,
        }

    def call(self, get):
        from tokenkeeper import TokenAcquisitionError

        before = now()
        try:
            token = get()
        except TokenAcquisitionError as error:
            after = now()
            self.met["errors"] += 1
            if self.token and after < self.expires_at(self.token) - self.config["margin"]:
                self.met["errors_while_valid"] += 1
            self.write(event="error", at=after, text=str(error))
            return
        after = now()
        self.met["reads"] += 1
        if before >= self.expires_at(token):  # it was expired before it was asked for
            self.met["expired"] += 1
        if self.token and before < self.expires_at(self.token) - self.config["margin"]:
            self.slowest_while_valid = max(self.slowest_while_valid, after - before)
        self.slowest = max(self.slowest, after - before)
        if token != self.token:
            self.token = token
            self.write(event="token", at=after, granted_at=self.granted_at(token), **self.summary())

    def expires_at(self, token):
        """Return when the server rejects *token*, or when the keeper says so."""
        if tokens.is_of_a_token_server(token):
            return tokens.expires_at(token)
        if token not in self.expiries:
            full = self.keeper.get_oauth2_token("api")
            left = full.expires_at.timestamp() - time.time()
            self.expiries[full.access_token] = now() + left
        return self.expiries.get(token, math.inf)

    def granted_at(self, token):
        """Return when the server granted *token*; otherwise a text that only it has."""
        if tokens.is_of_a_token_server(token):
            return tokens.granted_at(token)
        return hashlib.sha256(token.encode()).hexdigest()

    def wait_for(self, name):
        while not (self.folder / name).exists():
            signal.sigtimedwait([], 0.002)


def main():
    folder = Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text())
    # Imported once, before the workers are forked; they have no keeper in common.
    import tokenkeeper._renewal.joining
    import tokenkeeper.oauth.token_request
    import tokenkeeper.testing.stores  # noqa: F401
    from tokenkeeper import GenericOAuth2Provider, TokenKeeper  # noqa: F401

    logging.getLogger("tokenkeeper").setLevel(logging.CRITICAL)  # outages are intended
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        for _ in range(int(line)):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    Worker(folder, config).live()
                    code = 0
                finally:
                    if code == 0 and not config.get("closes"):
                        os._exit(0)
                    sys.exit(code) if code == 0 else _report_and_exit(folder)
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()


def _report_and_exit(folder):
    import traceback

    (folder / f"{os.getpid()}.failed").write_text(traceback.format_exc())
    os._exit(1)


if __name__ == "__main__":
    main()
