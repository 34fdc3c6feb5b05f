"""The ten labels of a picture."""

LABELS = (
    "object_present", "platelet", "block", "needle", "elongated",
    "agglomerated", "ufo", "bubble", "droplets", "too_concentrated",
)  # fmt: skip
"""In the order of the contract."""
