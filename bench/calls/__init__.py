"""The benchmark of calls: our server beside the least that any server could do for the same real client."""
