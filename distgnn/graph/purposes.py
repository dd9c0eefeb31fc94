"""Purposes of keyed random numbers: the constants in ``key(seed, purpose, ...)`` that keep independent streams apart.

Values are unique within an enum and must not change: results depend on them. Some values repeat across enums (11, 41,
61-63) for compatibility with results that predate this list; two enums are never used with the same key path.
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class PretrainDraw(IntEnum):
    """Schedules and objectives of pre-training."""

    HELD_OUT = 1
    UNITS = 2
    ROWS = 3
    WINDOW = 4
    VALIDATED = 5
    BALANCE = 6
    BALANCED_STEPS = 7
    TASKS = 11
    DIMENSIONS = 12
    MASK = 13
    NON_EDGES = 14
    ROOT = 15
    VIEWS = 16
    WEIGHTS = 31


@unique
class LabelDraw(IntEnum):
    """Splits of labelled corpora."""

    SPLIT = 11
    DRAW_ORDER = 12
    DRAW_GROUPS = 13
    NORM_GRAPHS = 14


@unique
class AuxiliaryDraw(IntEnum):
    """Training on labels, with and without auxiliary tasks: weightings, order of rows, tasks on graphs."""

    WEIGHTING = 41
    WEIGHTING_DRAWS = 42
    ROW_ORDER = 52
    HEAD = 61
    CORPUS_ORDER = 62
    DROPOUT = 63
    PRETRAIN_ORDER = 71
    HELD_OUT = 72
    JUDGE_ORDER = 73
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
    BPR = 74
    LIGHT_GCN = 75
    LIGHT_GCN_NEGATIVES = 1
    WALKS = 76


@unique
class SearchDraw(IntEnum):
    """Hyperparameter search."""

    TPE = 91
    RANDOM = 92
    EXPLORE = 93
    ANEW = 1
    CLONE_SOURCE = 95


@unique
class CheckDraw(IntEnum):
    """Synthetic inputs for checks of an encoder."""

    SYNTHETIC = 41


@unique
class RelationalDraw(IntEnum):
    """Models of relational databases."""

    ASKED_ROWS = 1
    ASKED_TIMES = 2
    SPLIT = 3
    HALVES = 4
    NEIGHBOURS = 101
    EPISODE = 102
    ROWS = 103
    NAMES = 104
    COLUMNS = 105
    AUTOMATIC = 106
    CONTEXT = 107
    WEIGHTS = 108
    SYNTHETIC = 109
