"""The numeric core: columns to positions, visits, dwells, paths and shelf events."""
