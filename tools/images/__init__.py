"""Container images without Docker: built by buildah, named after their content, kept as archives in the cache.

images.references()          # {"operator": "localhost/headgate-operator:3f…", …}, nothing is built
images.build("operator")     # Built(name, reference, archive), built if the cache does not have it
"""

from .archive import Built
from .build import build
from .table import Image, names, references

__all__ = ["Built", "Image", "build", "names", "references"]
