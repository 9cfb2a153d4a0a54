"""The service in the store: subscriber, live engine, sinks, page, and the file drivers."""
