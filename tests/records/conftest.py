from __future__ import annotations

from run_folder import write_run

__all__ = ["write_run"]
