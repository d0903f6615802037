"""One storage root, on a disk or in a bucket: layout, publish, list, newest, delete."""
