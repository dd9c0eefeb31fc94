"""Purposes of keyed draws: what ``key(seed, purpose, ...)`` is for, so that no two draws of a subject share their numbers.

Values are unique within an enum and fixed: results depend on them. Across enums some values repeat (11, 41, 61-63), because they
were chosen before there was a list; the subjects of two enums never draw for the same model from the same key path.
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class PretrainDraw(IntEnum):
    """Plans and objectives of pre-training."""

    HELD_OUT = 1
    UNITS = 2
    ROWS = 3
    TASKS = 11
    DIMENSIONS = 12
    MASK = 13
    NON_EDGES = 14
    ROOT = 15
    VIEWS = 16
    WEIGHTS = 31


@unique
class LabelDraw(IntEnum):
    """Splits of labelled corpora and training on labels."""

    SPLIT = 11
    ORDER = 21
    HEAD = 22
    DROPOUT = 23


@unique
class AuxiliaryDraw(IntEnum):
    """Joint training with auxiliary tasks: weightings, folds, tasks on graphs."""

    WEIGHTING = 41
    WEIGHTING_DRAWS = 42
    FOLD_SPLIT = 51
    FOLD_ORDER = 52
    HEAD = 61
    CORPUS_ORDER = 62
    DROPOUT = 63
    PRETRAIN_ORDER = 71
    GLOBAL = 81


@unique
class NetworkDraw(IntEnum):
    """Tasks on a network."""

    STEP = 61
    EVALUATION = 62
    PATH = 63
    EDGE_NODES = 64
    EDGE_POOL = 65
    REMOVED = 66
    ATTRIBUTE_NODES = 67
    DROPOUT = 68
    ENCODER = 69
    HEADS = 70


@unique
class SearchDraw(IntEnum):
    """Searches for hyperparameters."""

    TPE = 91
    RANDOM = 92
    EXPLORE = 93
    ANEW = 1
    CLONE_SOURCE = 95


@unique
class CheckDraw(IntEnum):
    """Synthetic inputs with which an encoder is checked."""

    SYNTHETIC = 41
