"""A trained network and a budget in, a small network out: every choice that is left open is made here."""

from rank_search.run.compression.config import compression_config
from rank_search.run.compression.in_python import Compressed, compress_model

__all__ = ["Compressed", "compress_model", "compression_config"]
