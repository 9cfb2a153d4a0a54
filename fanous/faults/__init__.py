"""Seeded faults against real processes of this project, and what they may not do."""
