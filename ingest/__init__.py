"""The wire contract: batches, topics, identifiers, order, columns, files."""
