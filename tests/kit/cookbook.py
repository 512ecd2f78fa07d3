"""The examples of the cookbook, whose classes the tests use as a reader would."""

from importlib.util import module_from_spec, spec_from_file_location

from kit.pages import ROOT

COOKBOOK = ROOT / "docs" / "cookbook"


def example(name):
    """Return the module of an example; its main program does not run."""
    spec = spec_from_file_location(f"cookbook_{name}", COOKBOOK / f"{name}_example.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
