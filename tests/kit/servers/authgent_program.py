"""A program that serves authgent-server on loopback, configured by its own variables.

Everything it does is authgent-server's. This program only binds a port, so that the server knows
its own URL, keeps its database in the current folder, and raises the limits of requests per minute.
"""

import argparse
import json
import os
import socket
import sys
import threading
import time

LIMIT = "1000000"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trust", action="append", default=[], metavar="ISSUER")
    parser.add_argument("--lifetime", type=int, default=300, metavar="SECONDS")
    options = parser.parse_args()
    output, sys.stdout = sys.stdout, sys.stderr  # the server logs to its standard output
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
    os.environ |= {
        "AUTHGENT_SERVER_URL": issuer,
        "AUTHGENT_TRUSTED_CHAINING_ISSUERS": json.dumps(options.trust),
        "AUTHGENT_EXCHANGE_TOKEN_TTL": str(options.lifetime),
        "AUTHGENT_TOKEN_RATE_LIMIT": LIMIT,
        "AUTHGENT_REGISTER_RATE_LIMIT": LIMIT,
    }

    import uvicorn
    from authgent_server.app import create_app  # it reads the variables

    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="critical"))
    threading.Thread(target=server.run, args=([listener],), daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    about = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
    print(json.dumps(about), file=output, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
