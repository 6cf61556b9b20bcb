"""Name the metrics for programs that read tables of them. This is plain Python that imports no jax."""

METRIC_NAMES: tuple[str, ...] = (
    "lpips",
    "ssim",
    "edge_similarity",
    "style_distance",
    "colour_distance",
    "total_variation",
)
"""The fields of `metrics.Metrics`, in order."""

TABLE_METRICS: tuple[str, ...] = METRIC_NAMES[:-1]
"""The metrics that tables of lanes show; total variation is among their losses already."""

HIGHER_IS_BETTER: tuple[str, ...] = ("ssim", "edge_similarity")
"""The metrics that are better when they are higher; the others are better when they are lower."""
