"""Records, content-addressed blobs, lineage and run locks of one workspace."""
