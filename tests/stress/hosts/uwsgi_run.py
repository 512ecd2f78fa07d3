"""uWSGI, as a module that Python can run."""

import sys

import pyuwsgi

pyuwsgi.run(sys.argv[1:])
