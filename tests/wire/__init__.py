"""The real client, several versions, against the real API over rows and blobs; only what lies behind is played."""
