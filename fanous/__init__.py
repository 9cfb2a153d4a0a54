"""The `fanous` program: verbs, demo, doctor."""
