"""A program that runs plugins, each in a thread with an event loop of its own."""
