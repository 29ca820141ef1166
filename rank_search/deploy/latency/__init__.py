"""The time of a plan as a cost: a table of measured layers, calibrated on whole networks."""

from rank_search.deploy.latency.calibrate import calibrated
from rank_search.deploy.latency.check import Check, check
from rank_search.deploy.latency.metric import Latency
from rank_search.deploy.latency.refine import refined
from rank_search.deploy.latency.table import LatencyTable
from rank_search.deploy.latency.whole import latency_of, whole_times

__all__ = ["Check", "Latency", "LatencyTable", "calibrated", "check", "latency_of", "refined", "whole_times"]
