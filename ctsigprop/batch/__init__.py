"""Batch runs: compare rules, sweep parameters, on some processes or on a cluster, and lose nothing."""

from ctsigprop.batch.compare import compare
from ctsigprop.batch.job import Budget, Record, StopBelow, Trial
from ctsigprop.batch.records import StoreError
from ctsigprop.batch.remote import RemoteStore
from ctsigprop.batch.runs import Runs
from ctsigprop.batch.store import Store
from ctsigprop.batch.sweep import sweep

__all__ = ["Budget", "Record", "RemoteStore", "Runs", "StopBelow", "Store", "StoreError", "Trial", "compare", "sweep"]
