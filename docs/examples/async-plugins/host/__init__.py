"""A program that runs plugins, each in a thread with its own event loop."""
