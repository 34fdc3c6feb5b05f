"""Correction for the depth of field that the focus gate makes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crystalscope.config import FocusConfig
from crystalscope.errors import InputError

Array = NDArray[np.float64]


def depth_weights(ecd_px: Array, focus: Array, *, gate: FocusConfig) -> Array:
    """Weights against the larger depth in which larger particles pass the focus gate.

    An edge is as wide as the optics and the pixels make it in the focal plane, w0, and widens with the distance z
    from it as w² = w0² + (k z)². The gate lets a particle pass up to a width that grows with its size, so the depth
    in which it is counted is proportional to sqrt(w_gate(ECD)² - w0²); the weight is the inverse, scaled to a mean of
    1. The unknown k cancels.

    Parameters
    ----------
    ecd_px
        (n,) of counted particles, px.
    focus
        (n,) their edge sharpness in 1/px; its 95th percentile is taken for 1 / w0.
    gate
        The gate in force.

    Returns
    -------
    (n,) weights.

    Raises
    ------
    InputError
        When the gate is off: nothing was selected by focus.

    Notes
    -----
    Assumes particles spread evenly in depth over more than the depth of field (a stirred vessel, not a slide), and
    blur that depends on depth alone. Particles that are counted although wider than the gate's depth allows
    do not occur. Source of the idea: depth of field as sampling volume, ISO 13322-2.
    """
    if not gate.gate:
        raise InputError("expected the focus gate on for a depth-of-field correction; set focus.gate = true")
    if not len(ecd_px):
        return np.zeros(0)
    good = focus[np.isfinite(focus) & (focus > 0)]
    narrowest = 1.0 / float(np.quantile(good, 0.95)) if good.size else 0.0
    widest = np.minimum(gate.max_edge_px + gate.max_edge_share * ecd_px, gate.max_edge_limit_px)
    # Close to w0 the depth tends to 0 and the weight to infinity: the floor bounds it at that of a tenth of w0.
    depth = np.sqrt(np.maximum(widest**2 - narrowest**2, 0.21 * narrowest**2))
    weight = 1.0 / depth
    return np.asarray(weight / weight.mean())
