"""Our code inside a container. Standard library only: it runs in the user's environment, beside the user's versions."""
