"""The second runner: the client's own container entrypoint, unmodified, behind the same link as the first.

The parent process speaks the link's frames with the server and the client's container RPCs with its child. Both use
the protocol files of the client that deployed, so their versions always match. Invariant: the server sees no
difference.
"""
