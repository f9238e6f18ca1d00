"""Readers: files of rows, streamed, bounded, with file and line for everything that is wrong."""
