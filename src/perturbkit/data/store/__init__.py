"""Cells on disk for training: any order, any batch, matched controls, bounded memory."""

from perturbkit.data.store.cells import CellStore as CellStore
from perturbkit.data.store.memory import store_of as store_of
from perturbkit.data.store.shuffle import ShuffledCells as ShuffledCells
from perturbkit.data.store.write import write_store as write_store
