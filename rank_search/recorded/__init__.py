"""Recorded tasks: what every plan of a small space is worth, so that a search over it costs look-ups."""

from rank_search.recorded.load import load_recorded
from rank_search.recorded.recorded_task import RecordedTask
from rank_search.recorded.recording import Recording, read_recording, recordings

__all__ = ["RecordedTask", "Recording", "load_recorded", "read_recording", "recordings"]
