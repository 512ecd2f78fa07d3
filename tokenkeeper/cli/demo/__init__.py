"""The demo: many callers, tokens that live for seconds, and a token endpoint that goes down."""
