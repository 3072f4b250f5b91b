"""Cells on disk for training: any order, any batch, matched controls, bounded memory."""

from perturbkit.data.store.cells import CellStore as CellStore
from perturbkit.data.store.memory import store_of as store_of
from perturbkit.data.store.profiles import describe_store as describe_store
from perturbkit.data.store.profiles import responses_of_store as responses_of_store
from perturbkit.data.store.shuffle import ShuffledCells as ShuffledCells
from perturbkit.data.store.write import write_store as write_store
