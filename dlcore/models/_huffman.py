"""Huffman's tree: frequent words are near its root."""

from __future__ import annotations

import heapq

import numpy as np


def huffman(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(nodes int32, signs float32), both [V, L]: each word's way from the root to its leaf.

    nodes: the inner nodes passed, of V − 1 (the root is V − 2). signs: +1 where the way goes left,
    −1 right, 0 after the leaf, where the way is shorter than the longest, L. No other tree has a
    smaller Σ count · length. Huffman 1952.

    >>> huffman([5, 1, 2])[1]
    array([[-1.,  0.],
           [ 1.,  1.],
           [ 1., -1.]], dtype=float32)
    """
    size = len(counts)
    heap = [(int(count), number) for number, count in enumerate(counts)]
    heapq.heapify(heap)
    parent, sign = np.zeros(2 * size - 1, np.int64), np.zeros(2 * size - 1, np.float32)
    for node in range(size, 2 * size - 1):
        left, right = heapq.heappop(heap), heapq.heappop(heap)
        for (_, child), side in ((left, 1), (right, -1)):
            parent[child], sign[child] = node, side
        heapq.heappush(heap, (left[0] + right[0], node))
    ways = [_way(word, parent, 2 * size - 2) for word in range(size)]
    longest = max(map(len, ways))
    nodes, signs = np.zeros((size, longest), np.int32), np.zeros((size, longest), np.float32)
    for word, way in enumerate(ways):
        nodes[word, : len(way)] = parent[way] - size
        signs[word, : len(way)] = sign[way]
    return nodes, signs


def _way(node: int, parent: np.ndarray, root: int) -> list[int]:
    """The nodes from below the root down to this one."""
    way = []
    while node != root:
        way.append(node)
        node = parent[node]
    return way[::-1]
