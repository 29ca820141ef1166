"""Networks as files that run without rank-search: formats, parity, int8, folding, model cards."""

from rank_search.deploy.export.exported import Exported, Variant
from rank_search.deploy.export.exporting import export
from rank_search.deploy.export.folding import Folding, fold_batch_norm
from rank_search.deploy.export.parity import Parity

__all__ = ["Exported", "Folding", "Parity", "Variant", "export", "fold_batch_norm"]
