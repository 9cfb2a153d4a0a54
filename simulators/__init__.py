"""A virtual store with ground truth: shoppers, radio, load cells, taps."""
