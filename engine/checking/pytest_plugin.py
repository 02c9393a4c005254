"""The plugin's old place: an installation in editable mode names it until it is made anew.  See `bptt_engine`."""
