"""The agent beside the radios: sources, pseudonyms, durable outbox, publisher."""
