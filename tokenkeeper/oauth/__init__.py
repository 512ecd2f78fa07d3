"""The wire: how a token is asked for, and what a server's answer means."""
