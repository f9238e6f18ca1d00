"""Transport and clients of what runs elsewhere; a file each. The only room that imports vendor SDKs."""
