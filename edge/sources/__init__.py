"""Where agents get their measurements from."""
