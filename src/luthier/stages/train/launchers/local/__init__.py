"""The local launcher: this process, its one device."""
