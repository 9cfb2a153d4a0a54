"""Measurements of the real product code with seeded input; `fanous bench` runs them."""
