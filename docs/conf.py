"""How the documentation is built: ``tox -e docs``."""

from tokenkeeper import __version__

project = "Tokenkeeper"
author = "The Tokenkeeper maintainers"
project_copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Tokenkeeper {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_dark_style = "github-dark"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
# Without the order of __all__, which is the alphabet's and puts what derives before its base.
autodoc_default_options = {"members": True, "ignore-module-all": True}

copybutton_prompt_text = "$ "

# There is no network to look up other projects' names in, so those are named here. Any other name
# that leads nowhere is an error.
OTHERS = (
    "azure|collections|contextvars|datetime|google|grpc|httpx|opentelemetry|os|prometheus_client|requests"
    "|threading"
)
nitpick_ignore_regex = [
    (r"py:.*", rf"({OTHERS})(\..*)?"),
    (r"py:class", r"(Async)?(TokenCredential|TokenProvider|HttpTransport)"),
    (r"py:class", r"AccessTokenInfo|TokenRequestOptions|_Credential"),
    (r"py:class", r"Outcome|tuple\[float|tokenkeeper\.testing\.events\.E"),
]
suppress_warnings = ["ref.python"]  # each client library's module has a KeeperAuth of its own
