"""The demo: one keeper and a naive client under the same load, while the token endpoint is down."""
