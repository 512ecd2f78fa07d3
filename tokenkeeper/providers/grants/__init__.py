"""The grants: what a client presents to get a token, one file for each kind."""
