"""genir: generative retrieval, where the model is the index. The ground floor: records, protocols, mechanism."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("genir")
except PackageNotFoundError:  # a source tree on sys.path that was never installed
    __version__ = "0+unknown"
