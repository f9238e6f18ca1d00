"""Thin commands over api. stdout is data, stderr is talk."""
