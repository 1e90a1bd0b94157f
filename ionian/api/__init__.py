"""The gRPC edge: one plain function per RPC, named exactly as the RPC."""
