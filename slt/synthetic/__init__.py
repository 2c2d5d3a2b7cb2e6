"""The embedded corpus: an invented signed language, drawn by code, translated into Spanish."""

from slt.synthetic.continuous import films_folder
from slt.synthetic.writing import corpus_folder

__all__ = ["corpus_folder", "films_folder"]
