"""The published survey of pruning papers, recomputed from its sheets: statistics, dominance, figures, its page."""
