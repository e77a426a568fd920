"""Batch runs: compare rules and sweep parameters, on several processes or a cluster."""

from ctsigprop.batch.compare import compare
from ctsigprop.batch.job import Budget, Record, StopBelow, Trial
from ctsigprop.batch.records import StoreError
from ctsigprop.batch.remote import RemoteStore
from ctsigprop.batch.runs import Runs
from ctsigprop.batch.store import Store
from ctsigprop.batch.sweep import sweep

__all__ = ["Budget", "Record", "RemoteStore", "Runs", "StopBelow", "Store", "StoreError", "Trial", "compare", "sweep"]
