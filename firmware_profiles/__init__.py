"""Device profiles: bytes to measurements and back, as data."""
