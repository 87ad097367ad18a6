"""Sentences as the token numbers that BERT-style encoders take."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

CLS, SEP, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"


def sentences(path: Path, count: int) -> list[str]:
    """The first sentences of an STS file: tab-separated, the sentences in its sixth and seventh columns."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        both = [sentence for row in rows for sentence in row[5:7]]
    return both[:count]


def encode(texts: list[str], vocabulary: Path, length: int) -> dict[str, np.ndarray]:
    """The three int64 inputs of the encoder, padded to `length` tokens."""
    numbers = {token: i for i, token in enumerate(vocabulary.read_text(encoding="utf-8").splitlines())}
    shape = (len(texts), length)
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, text in enumerate(texts):
        words = re.findall(r"\w+|[^\w\s]", text.lower())
        tokens = [piece for word in words for piece in _pieces(word, numbers)]
        tokens = [CLS, *tokens[: length - 2], SEP]
        ids[row, : len(tokens)] = [numbers[token] for token in tokens]
        mask[row, : len(tokens)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, np.int64)}


def _pieces(word: str, numbers: dict[str, int]) -> list[str]:
    """Greedy longest-match pieces of a word (WordPiece)."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if prefix + word[start:end] in numbers), None)
        if end is None:
            return [UNKNOWN]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces
