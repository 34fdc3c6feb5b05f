"""Component tree of a contrast picture, and the choice of particles in it.

Thresholding at one level either merges a crystal with the blurred ghost behind it (low level) or loses its
faint facets (high level). The tree holds the connected regions of every level; a particle is the region whose
outline follows the sharpest edge, chosen for each particle on its own.

Sources: Najman and Couprie, IEEE Trans. Image Process. 15 (2006) 3531 (component tree by union-find);
Matas et al., Image Vision Comput. 22 (2004) 761 (regions chosen along the tree).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def choose_regions(
    level: NDArray[np.uint8],
    sharpness: NDArray[np.float32],
    *,
    min_area_px: float,
    outer_preference: float,
) -> NDArray[np.int32]:
    """Label picture of the regions with the sharpest outlines, none inside another.

    Parameters
    ----------
    level
        Shape (rows, columns): 0 for background, else the position (from 1) of the highest threshold passed.
    sharpness
        Map of `prepare.focus.sharpness_map`; the sharpness of an outline is its mean over the pixel edges of the
        outline, so that a crystal in front of a ghost is sharper than the two together.
    min_area_px
        Regions smaller than this are no candidates.
    outer_preference
        A region is taken instead of the regions inside it when its sharpness is at least this share of
        theirs (weighted by length of outline). Below 1, whole crystals win over their facets.

    Returns
    -------
    Shape (rows, columns) int32: 0, or number of the region from 1. Holes are not filled. Regions are
    8-connected.
    """
    return _choose(level, sharpness, float(min_area_px), float(outer_preference))


@njit(cache=True, nogil=True)
def _find(parent, i):  # type: ignore[no-untyped-def]
    root = i
    while parent[root] != root:
        root = parent[root]
    while parent[i] != root:
        parent[i], i = root, parent[i]
    return root


@njit(cache=True, nogil=True)
def _choose(level, sharpness, min_area, preference):  # type: ignore[no-untyped-def]
    rows, columns = level.shape
    out = np.zeros((rows, columns), np.int32)
    counts = np.zeros(257, np.int64)
    for r in range(rows):
        for c in range(columns):
            counts[level[r, c]] += 1
    total = rows * columns - counts[0]
    if total == 0:
        return out
    # Pixels from the highest level down, in raster order within a level.
    start = np.zeros(257, np.int64)
    for k in range(254, 0, -1):
        start[k] = start[k + 1] + counts[k + 1]
    order = np.empty(total, np.int32)
    for r in range(rows):
        for c in range(columns):
            k = level[r, c]
            if k > 0:
                order[start[k]] = r * columns + c
                start[k] += 1

    # `slot`: position of a pixel in the order, -1 before it is added. A frame of one px spares asking for bounds.
    stride = columns + 2
    slot = np.full((rows + 2) * stride, -1, np.int32)
    around = np.array([-stride, -1, 1, stride, -stride - 1, -stride + 1, stride - 1, stride + 1])
    pixel_parent = np.empty(total, np.int32)
    pixel_node = np.empty(total, np.int32)
    root_node = np.empty(total, np.int32)
    node_parent = np.full(total, -1, np.int32)
    node_alias = np.empty(total, np.int32)
    node_level = np.empty(total, np.uint8)
    area = np.zeros(total, np.float64)
    edges = np.zeros(total, np.float64)
    sharp_sum = np.zeros(total, np.float64)

    for s in range(total):
        p = order[s]
        r, c = p // columns, p % columns
        at = (r + 1) * stride + c + 1
        k = level[r, c]
        here = sharpness[r, c]
        slot[at] = s
        pixel_parent[s] = s
        # Each pixel begins a node; nodes that meet at one level become one.
        own = s
        root = s
        node_alias[own] = own
        node_level[own] = k
        area[own] = 1.0
        root_node[s] = own
        pixel_node[s] = own
        for t in range(8):
            n = slot[at + around[t]]
            if t < 4:
                # The pixel edge appears, or stops being outline; the picture's rim is none.
                i, j = r + (t == 3) - (t == 0), c + (t == 2) - (t == 1)
                if i < 0 or j < 0 or i >= rows or j >= columns:
                    continue
                sign = 1.0 if n < 0 else -1.0
                edges[own] += sign
                sharp_sum[own] += sign * max(here, sharpness[i, j])
            if n < 0:
                continue
            other = _find(pixel_parent, n)
            if other == root:
                continue
            nb = root_node[other]
            if node_level[nb] > k:
                node_parent[nb] = own
            else:
                node_alias[nb] = own
            area[own] += area[nb]
            edges[own] += edges[nb]
            sharp_sum[own] += sharp_sum[nb]
            if node_level[nb] <= k:
                area[nb] = -1.0
            # The older root stays so that trees remain flat; the node travels with it.
            pixel_parent[root] = other
            root = other
            root_node[root] = own
    nodes = total

    # Bottom up: nodes are numbered from the highest level down, so children come before their parents.
    best_length = np.zeros(nodes, np.float64)
    best_sum = np.zeros(nodes, np.float64)
    chosen = np.zeros(nodes, np.bool_)
    for n in range(nodes):
        if area[n] < 0.0:
            continue
        sharp = sharp_sum[n] / edges[n] if edges[n] > 0.0 else 0.0
        inner = best_sum[n] / best_length[n] if best_length[n] > 0.0 else 0.0
        if area[n] >= min_area and sharp >= preference * inner:
            chosen[n] = True
            best_length[n] = edges[n]
            best_sum[n] = edges[n] * sharp
        if node_parent[n] >= 0:
            up = _find(node_alias, node_parent[n])
            best_length[up] += best_length[n]
            best_sum[up] += best_sum[n]

    # Top down: the first chosen node on the way from the root.
    label_of = np.zeros(nodes, np.int32)
    labels = 0
    for n in range(nodes - 1, -1, -1):
        if area[n] < 0.0:
            continue
        if node_parent[n] >= 0:
            label_of[n] = label_of[_find(node_alias, node_parent[n])]
        if label_of[n] == 0 and chosen[n]:
            labels += 1
            label_of[n] = labels
    # Numbers in raster order of the first pixel, so that they do not depend on the order of the tree.
    renumber = np.zeros(labels + 1, np.int32)
    following = 0
    for r in range(rows):
        for c in range(columns):
            s = slot[(r + 1) * stride + c + 1]
            if s < 0:
                continue
            old = label_of[_find(node_alias, pixel_node[s])]
            if old == 0:
                continue
            if renumber[old] == 0:
                following += 1
                renumber[old] = following
            out[r, c] = renumber[old]
    return out
