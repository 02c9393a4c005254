"""Data on the host, before any of it enters a backend: text, series, scaling, windows, batches and baselines."""

from engine.data.baselines import (
    LinearAutoregression,
    Score,
    baseline_forecasts,
    persistence,
    score,
    seasonal_naive,
)
from engine.data.batching import (
    ContiguousBatches,
    TextBatch,
    bucket_by_length,
    contiguous_batches,
    pad_sequences,
    shuffled_order,
)
from engine.data.buckets import BatchSampler, Buckets, Packing
from engine.data.reading import read_table
from engine.data.scaling import Identity, MinMaxScaler, Scaler, ZScoreScaler, scaler_from_json
from engine.data.series import Series, load_series
from engine.data.table import Table
from engine.data.text import Vocabulary, builtin_text, load_text, split
from engine.data.windowing import (
    Parts,
    PartWindows,
    WindowBatch,
    WindowBatches,
    Windows,
    chronological_split,
    split_windows,
    windows,
)

__all__ = [
    # text
    "load_text",
    "builtin_text",
    "Vocabulary",
    "split",
    # batches
    "ContiguousBatches",
    "TextBatch",
    "contiguous_batches",
    "shuffled_order",
    "bucket_by_length",
    "pad_sequences",
    "Buckets",
    "BatchSampler",
    "Packing",
    # series
    "Series",
    "load_series",
    "Table",
    "read_table",
    "Parts",
    "chronological_split",
    "Windows",
    "windows",
    "PartWindows",
    "split_windows",
    "WindowBatch",
    "WindowBatches",
    # scaling
    "Scaler",
    "MinMaxScaler",
    "ZScoreScaler",
    "Identity",
    "scaler_from_json",
    # baselines
    "Score",
    "score",
    "persistence",
    "seasonal_naive",
    "LinearAutoregression",
    "baseline_forecasts",
]
