"""The filesystems of storage roots in buckets."""
