"""How the documentation is built: ``tox -e docs``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from tokenkeeper import __version__

project = "Tokenkeeper"
author = "The Tokenkeeper maintainers"
project_copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "inline_diagrams",
    "search_numbers",
]
exclude_patterns = ["_build", "_extensions", "examples"]
html_theme = "furo"
html_title = f"Tokenkeeper {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["search-numbers.js"]
pygments_dark_style = "github-dark"

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
# Not in the order of __all__, which is alphabetical and puts subclasses before their base.
autodoc_default_options = {"members": True, "ignore-module-all": True}

copybutton_prompt_text = "$ "

# The build needs no network, so names of other projects can't be looked up and are listed here.
# Any other name that doesn't resolve is an error.
OTHERS = (
    "aio_pika|aiosmtplib|anthropic|asyncpg|azure|collections|confluent_kafka|contextvars|datetime|google"
    "|grpc|httpx|httpx2|imaplib|kubernetes|openai|opentelemetry|os|paho|pika|prometheus_client|psycopg"
    "|pymongo|redis|requests|smtplib|sqlalchemy|threading|yarl"
)
nitpick_ignore_regex = [
    (r"py:.*", rf"({OTHERS})(\..*)?"),
    (r"py:class", r"(Async)?(TokenCredential|TokenProvider|HttpTransport)"),
    (r"py:class", r"AccessTokenInfo|TokenRequestOptions|_Credential"),
    (r"py:class", r"(Async)?Engine|tokenkeeper\.integrations\.psycopg\._[AC]"),
    (r"py:class", r"Mapping\[str|ForeignKey|KeyPair|LateText|TokenKind"),
    (r"py:class", r"Asked|AuthorizeOptions|OAuthClient|PendingSignIn|SignIns|SignInUnderWay"),
    (r"py:class", r"tokenkeeper\.oauth\.key_options\.KeyOptions"),
    (r"py:class", r"tokenkeeper\.providers\.google_base\.GoogleOptions"),
    (r"py:class", r"Outcome|tuple\[float|tokenkeeper\.testing\.events\.E"),
]
suppress_warnings = ["ref.python"]  # each client library's module has a KeeperAuth of its own
