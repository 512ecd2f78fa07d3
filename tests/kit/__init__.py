"""What the tests share: stand-ins for providers and servers, crowds of callers, child processes.

Import it as ``from kit.internals import flights``: pytest puts ``tests`` on the path, and programs
that tests start get it from :data:`kit.processes.PATH`.
"""
