"""Tokenkeeper in other libraries: a module and an extra for each. Import the module itself.

The modules of the client libraries translate. They share what they have in common:

- ``_unauthorized``: the 401 flow, which decides what happens when an API refuses a token
- ``_tokens``: getting a token from the keeper, and replacing a refused one
- ``_authorization``: the header
- ``_hosts``: which hosts may get the token
- ``_bodies``: rewinding the body of a request
"""
