"""One process per machine: containers, builds, log segments. Outlives the server."""
